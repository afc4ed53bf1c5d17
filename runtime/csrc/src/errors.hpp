// The two kinds of errors: BundleError for a bundle, std::invalid_argument for arguments of a call.
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
std::string join_text(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

template <class... Parts>
[[noreturn]] void throw_bundle_error(const Parts&... parts) {
  throw BundleError(join_text(parts...));
}

template <class... Parts>
[[noreturn]] void throw_invalid_argument(const Parts&... parts) {
  throw std::invalid_argument(join_text(parts...));
}

template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (!ok) throw_invalid_argument(parts...);
}

// Text of a file as one short line for a message: at most 80 bytes of UTF-8, without line breaks and the indents after
// them, other control characters as '?'.
inline std::string excerpt(std::string_view text) {
  constexpr std::size_t kMaxBytes = 80;
  const auto is_break = [](char c) { return c == '\n' || c == '\r' || c == '\t'; };
  std::string line;
  std::size_t i = 0;
  while (i < text.size() && line.size() < kMaxBytes) {
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

inline std::string single_quoted(std::string_view text) { return "'" + excerpt(text) + "'"; }

}  // namespace motionrt
