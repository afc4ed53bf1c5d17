// What is said of a bundle that cannot be used.
#pragma once

#include <cstddef>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace motionrt {

struct BundleError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw BundleError(message.str());
}

// Text of a file as one short line: at most 80 bytes of UTF-8, line breaks with the indent after them left
// out, other control characters as '?'.
inline std::string shown(std::string_view text) {
  constexpr std::size_t kShown = 80;
  const auto is_break = [](char c) { return c == '\n' || c == '\r' || c == '\t'; };
  std::string line;
  std::size_t i = 0;
  while (i < text.size() && line.size() < kShown) {
    if (is_break(text[i])) {
      while (i < text.size() && (is_break(text[i]) || text[i] == ' ')) ++i;
      continue;
    }
    const auto byte = static_cast<unsigned char>(text[i++]);
    line += byte < 0x20 || byte == 0x7F ? '?' : static_cast<char>(byte);
  }
  if (i == text.size()) return line;
  while (!line.empty() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80)
    line.pop_back(), --i;  // half a character
  return line + "...";
}

inline std::string in_quotes(std::string_view text) { return "'" + shown(text) + "'"; }

}  // namespace motionrt
