# Installs BUILD, builds both examples of SOURCE against that with find_package, and runs them on a recording.
set(prefix ${BUILD}/package/prefix)
file(REMOVE_RECURSE ${BUILD}/package)
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)

set(options -D CMAKE_PREFIX_PATH=${prefix} -D CMAKE_FIND_ROOT_PATH=${prefix}
  "-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Werror ${FLAGS}" "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror ${FLAGS}")
if(TOOLCHAIN)
  list(APPEND options --toolchain ${TOOLCHAIN})
else()
  list(APPEND options -D CMAKE_CXX_COMPILER=${CXX})
endif()
foreach(language c cpp)
  set(build ${BUILD}/package/${language})
  execute_process(COMMAND ${CMAKE_COMMAND} --no-warn-unused-cli -G ${GENERATOR} -S ${SOURCE}/examples/${language} -B ${build} ${options}
    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${CMAKE_COMMAND} --build ${build} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
endforeach()

# Runs the example of a language on an input file; sets status, output and error.
function(recognize language input)
  execute_process(COMMAND ${EMULATOR} ${BUILD}/package/${language}/recognize ${ARGN} INPUT_FILE ${input}
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE error)
  foreach(name status output error)
    set(${name} "${${name}}" PARENT_SCOPE)
  endforeach()
endfunction()

set(model ${SOURCE}/runtime/models/live)
set(recording ${SOURCE}/tests/recordings/wave.txt)
foreach(language c cpp)
  recognize(${language} ${recording} ${model} smpl22)
  string(REGEX MATCHALL "\n" lines "${output}")
  list(LENGTH lines lines)
  if(NOT status EQUAL 0 OR NOT lines EQUAL 115 OR NOT output MATCHES "\tonset\twave\t")
    message(FATAL_ERROR "${language}: exit ${status}, ${lines} lines, expected 115 and the onset of a wave\n${error}${output}")
  endif()
  set(output_${language} "${output}")
endforeach()
if(NOT output_c STREQUAL output_cpp)
  message(FATAL_ERROR "C and C++ give different output:\n${output_c}\n\n${output_cpp}")
endif()

# Invalid input: one line on stderr, exit status 2.
function(expect_failure language text message)
  file(WRITE ${BUILD}/package/input.txt "${text}")
  recognize(${language} ${BUILD}/package/input.txt ${ARGN})
  if(NOT status EQUAL 2 OR NOT error STREQUAL "recognize: ${message}\n")
    message(SEND_ERROR "${language}: exit ${status}: ${error}expected 2: recognize: ${message}")
  endif()
endfunction()

string(REPEAT " 0.5" 66 pose)
foreach(language c cpp)
  expect_failure(${language} "# a remark\n0 1${pose}\n0.1 1 2 3\n"
    "line 3: 2 coordinates, expected 66: x y z of 22 joints" ${model} smpl22)
  expect_failure(${language} "0 1${pose} 0.5\n" "line 1: 67 coordinates, expected 66: x y z of 22 joints" ${model} smpl22)
  expect_failure(${language} "0 1 2 x 3\n" "line 1: 'x' is not a number" ${model} smpl22)
  expect_failure(${language} "0 1 2 3x\n" "line 1: '3x' is not a number" ${model} smpl22)
  expect_failure(${language} "\n" "line 1: expected a time in seconds first" ${model} smpl22)
  expect_failure(${language} "t 1 2\n" "line 1: expected a time in seconds first" ${model} smpl22)
  expect_failure(${language} "0 1.5 2\n" "line 1: expected the person's number, an integer, after the time" ${model} smpl22)
  expect_failure(${language} "1e300 1${pose}\n"
    "line 1: t of person 1 is 1e+300, expected seconds, finite and within 1e+11" ${model} smpl22)
  expect_failure(${language} "" "nowhere: not the folder of a bundle" nowhere smpl22)
  expect_failure(${language} "" "layout coco17 is 2-D, expected a 3-D one in meters" ${SOURCE}/runtime/models/nwucla-stream coco17)
endforeach()
