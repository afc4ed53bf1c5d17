// CHECK(condition) and similar macros: report every failure; result() fails if there was one.
#pragma once

#include <cmath>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

inline int failures = 0;

inline void report(bool ok, const char* file, int line, const std::string& what) {
  if (ok) return;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
  ++failures;
}

#define CHECK(condition) report((condition), __FILE__, __LINE__, "not true: " #condition)
#define CHECK_NEAR(actual, expected, tolerance)                                              \
  do {                                                                                       \
    const double value = (actual), target = (expected);                                      \
    report(std::abs(value - target) <= (tolerance), __FILE__, __LINE__,                      \
           #actual " is " + std::to_string(value) + ", expected " + std::to_string(target)); \
  } while (false)
// The statement throws std::invalid_argument with a message that contains `part`.
#define CHECK_FAILS(statement, part)                                                                \
  do {                                                                                              \
    std::string message = "no error";                                                               \
    try {                                                                                           \
      statement;                                                                                    \
    } catch (const std::invalid_argument& error) {                                                  \
      message = error.what();                                                                       \
    }                                                                                               \
    report(message.find(part) != std::string::npos, __FILE__, __LINE__, #statement ": " + message); \
  } while (false)

inline int result() {
  if (failures > 0) std::fprintf(stderr, "%d checks failed\n", failures);
  return failures > 0;
}
