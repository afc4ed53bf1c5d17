# Writes the JSON files of FOLDER into the C++ file OUTPUT, each as {"name", R"json(content)json"}, for layouts.cpp:
#   cmake -D FOLDER=runtime/skeletons -D OUTPUT=embedded_layouts.inc -P embed_layouts.cmake
file(GLOB files "${FOLDER}/*.json")
list(SORT files)
if(NOT files)
  message(FATAL_ERROR "${FOLDER}: holds no skeleton layouts, expected *.json")
endif()
set(content "// Generated from runtime/skeletons by cmake/embed_layouts.cmake.\n")
foreach(file IN LISTS files)
  get_filename_component(name "${file}" NAME_WE)
  file(READ "${file}" text)
  string(APPEND content "{\"${name}\", R\"json(${text})json\"},\n")
endforeach()
file(WRITE "${OUTPUT}" "${content}")
