// Strict JSON: UTF-8, no duplicate keys, no NaN or infinity, bounded depth and number of values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "errors.hpp"

namespace motionrt {

constexpr std::size_t kMaxJsonBytes = 16 << 20;
constexpr std::size_t kMaxJsonValues = 1 << 20;
constexpr int kMaxJsonDepth = 64;

class JsonValue;

// A parsed document. Its values point into it and into the text, which must both outlive them.
class JsonDocument {
 public:
  // Throws BundleError, prefixed with `where`, unless the text is exactly one JSON value.
  JsonDocument(std::string_view text, const std::string& where);
  JsonDocument(const JsonDocument&) = delete;
  JsonDocument& operator=(const JsonDocument&) = delete;

  JsonValue root() const;

 private:
  friend class JsonParser;
  friend class JsonValue;
  struct Node {
    std::uint32_t begin, end;  // of its text
    std::uint32_t next;        // index of the node after it and its children
  };
  std::string_view text_;
  std::vector<Node> nodes_;  // depth first; a key is a node before its value
};

// One value of a document.
class JsonValue {
 public:
  bool is_null() const { return source()[0] == 'n'; }
  bool is_object() const { return source()[0] == '{'; }
  bool is_list() const { return source()[0] == '['; }
  bool is_text() const { return source()[0] == '"'; }

  std::optional<std::string> text() const;
  std::optional<bool> boolean() const;
  std::optional<std::int64_t> integer() const;  // with neither fraction nor exponent, of at most 18 digits
  std::optional<double> number() const;         // any within the range of a double

  std::vector<JsonValue> items() const;  // of a list, else empty
  struct Member;
  std::vector<Member> members() const;                        // of an object, in order, else empty
  std::optional<JsonValue> find(std::string_view key) const;  // of an object, else none

  std::string_view source() const;  // text in the document, never empty
  std::string excerpt() const;      // the same as one short line for messages

 private:
  friend class JsonDocument;
  JsonValue(const JsonDocument* document, std::uint32_t index) : document_(document), index_(index) {}
  const JsonDocument* document_;
  std::uint32_t index_;
};

struct JsonValue::Member {
  std::string key;
  JsonValue value;
};

}  // namespace motionrt
