#include "json.hpp"

#include <algorithm>
#include <cmath>
#include <locale>
#include <sstream>

namespace motionrt {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_surrogate(std::uint32_t code) { return code >= 0xD800 && code <= 0xDFFF; }

// Bytes of the UTF-8 character that `text` starts with; 0 if there is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  if (byte(0) < 0x80) return 1;
  const std::size_t length = byte(0) < 0xC0 ? 0 : byte(0) < 0xE0 ? 2 : byte(0) < 0xF0 ? 3 : byte(0) < 0xF8 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  std::uint32_t code = byte(0) & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3F);
  }
  const std::uint32_t smallest = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  return code < smallest || code > 0x10FFFF || is_surrogate(code) ? 0 : length;
}

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

}  // namespace

class JsonParser {
 public:
  JsonParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  void parse(std::vector<JsonDocument::Node>& nodes) {
    if (text_.size() > kMaxJsonBytes)
      throw_bundle_error(where_, ": JSON of ", text_.size(), " bytes, at most ", kMaxJsonBytes, " are allowed");
    value(nodes, 0);
    skip_space();
    if (at_ < text_.size()) error("unexpected text after the end");
  }

  std::string string() {
    expect('"');
    std::string out;
    while (!take('"')) {
      if (take('\\')) {
        escape(out);
        continue;
      }
      if (at_ == text_.size()) error("unterminated string");
      if (static_cast<unsigned char>(text_[at_]) < 0x20) error("control character in a string");
      const std::size_t length = utf8_length(text_.substr(at_));
      if (length == 0) error("invalid UTF-8");
      out.append(text_, at_, length);
      at_ += length;
    }
    return out;
  }

 private:
  void value(std::vector<JsonDocument::Node>& nodes, int depth) {
    skip_space();
    const std::size_t index = open(nodes);
    const char c = peek();
    if (c == '{' || c == '[') {
      if (depth == kMaxJsonDepth) error("nested too deeply");
      c == '{' ? object(nodes, depth + 1) : list(nodes, depth + 1);
    } else if (c == '"') {
      string();
    } else if (c == '-' || is_digit(c)) {
      number();
    } else if (!literal("true") && !literal("false") && !literal("null")) {
      error("expected a value");
    }
    close(nodes, index);
  }

  void object(std::vector<JsonDocument::Node>& nodes, int depth) {
    expect('{');
    std::vector<std::string> keys;
    skip_space();
    if (take('}')) return;
    do {
      skip_space();
      const std::size_t key = open(nodes);
      keys.push_back(string());
      close(nodes, key);
      skip_space();
      expect(':');
      value(nodes, depth);
      skip_space();
    } while (take(','));
    expect('}');
    std::sort(keys.begin(), keys.end());
    const auto duplicate = std::adjacent_find(keys.begin(), keys.end());
    if (duplicate != keys.end()) error("duplicate key " + single_quoted(*duplicate) + " in the object that ends");
  }

  void list(std::vector<JsonDocument::Node>& nodes, int depth) {
    expect('[');
    skip_space();
    if (take(']')) return;
    do {
      value(nodes, depth);
      skip_space();
    } while (take(','));
    expect(']');
  }

  void number() {
    take('-');
    if (!take('0')) digits();
    if (take('.')) digits();
    if (take('e') || take('E')) {
      if (!take('-')) take('+');
      digits();
    }
  }

  void digits() {
    if (!is_digit(peek())) error("expected a digit");
    while (is_digit(peek())) ++at_;
  }

  // The rest of an escape sequence, after the backslash.
  void escape(std::string& out) {
    static constexpr std::string_view kEscapes = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    if (take('u')) {
      std::uint32_t code = hex4();
      if (code >= 0xD800 && code < 0xDC00 && literal("\\u")) {
        const std::uint32_t low = hex4();
        if (low < 0xDC00 || low > 0xDFFF) error("unpaired surrogate");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      }
      if (is_surrogate(code)) error("unpaired surrogate");
      return append_utf8(out, code);
    }
    const std::size_t which = at_ < text_.size() ? kEscapes.find(text_[at_]) : std::string_view::npos;
    if (which == std::string_view::npos) error("unknown escape");
    out += kMeanings[which];
    ++at_;
  }

  std::uint32_t hex4() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = peek(), lower = static_cast<char>(c | 0x20);
      if (!is_digit(c) && !(lower >= 'a' && lower <= 'f')) error("expected four hex digits");
      code = code << 4 | static_cast<std::uint32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
    }
    return code;
  }

  std::size_t open(std::vector<JsonDocument::Node>& nodes) const {
    if (nodes.size() == kMaxJsonValues) error("too many values");
    nodes.push_back({static_cast<std::uint32_t>(at_), 0, 0});
    return nodes.size() - 1;
  }

  void close(std::vector<JsonDocument::Node>& nodes, std::size_t index) const {
    nodes[index].end = static_cast<std::uint32_t>(at_);
    nodes[index].next = static_cast<std::uint32_t>(nodes.size());
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool literal(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  void expect(char c) {
    if (!take(c)) error(std::string("expected ") + c);
  }

  void skip_space() {
    while (take(' ') || take('\n') || take('\r') || take('\t')) {
    }
  }

  [[noreturn]] void error(const std::string& what) const {
    throw_bundle_error(where_, ": not valid JSON (", what, " at byte ", at_, ")");
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t at_ = 0;
};

JsonDocument::JsonDocument(std::string_view text, const std::string& where) : text_(text) {
  JsonParser(text, where).parse(nodes_);
}

JsonValue JsonDocument::root() const { return {this, 0}; }

std::string_view JsonValue::source() const {
  const auto& node = document_->nodes_[index_];
  return document_->text_.substr(node.begin, node.end - node.begin);
}

std::string JsonValue::excerpt() const { return motionrt::excerpt(source()); }

std::optional<std::string> JsonValue::text() const {
  if (!is_text()) return std::nullopt;
  return JsonParser(source(), "").string();
}

std::optional<bool> JsonValue::boolean() const {
  if (source() != "true" && source() != "false") return std::nullopt;
  return source() == "true";
}

std::optional<std::int64_t> JsonValue::integer() const {
  std::string_view digits = source();
  const bool negative = digits[0] == '-';
  if (negative) digits.remove_prefix(1);
  constexpr std::size_t kMaxDigits = 18;  // always fit in 64 bits
  if (digits.size() > kMaxDigits || !std::all_of(digits.begin(), digits.end(), is_digit)) return std::nullopt;
  std::int64_t value = 0;
  for (const char c : digits) value = 10 * value + (c - '0');
  return negative ? -value : value;
}

std::optional<double> JsonValue::number() const {
  if (source()[0] != '-' && !is_digit(source()[0])) return std::nullopt;
  std::istringstream stream{std::string(source())};
  stream.imbue(std::locale::classic());
  double value = 0;
  stream >> value;
  if (stream.fail() && std::abs(value) >= 1) return std::nullopt;  // too large; too small becomes almost 0
  return value;
}

std::vector<JsonValue> JsonValue::items() const {
  std::vector<JsonValue> items;
  if (!is_list()) return items;
  const auto& nodes = document_->nodes_;
  for (std::uint32_t i = index_ + 1; i < nodes[index_].next; i = nodes[i].next) items.push_back({document_, i});
  return items;
}

std::vector<JsonValue::Member> JsonValue::members() const {
  std::vector<Member> members;
  if (!is_object()) return members;
  const auto& nodes = document_->nodes_;
  for (std::uint32_t key = index_ + 1; key < nodes[index_].next; key = nodes[key + 1].next)
    members.push_back({*JsonValue(document_, key).text(), JsonValue(document_, key + 1)});
  return members;
}

std::optional<JsonValue> JsonValue::find(std::string_view key) const {
  if (!is_object()) return std::nullopt;
  const auto& nodes = document_->nodes_;
  for (std::uint32_t i = index_ + 1; i < nodes[index_].next; i = nodes[i + 1].next)
    if (JsonValue(document_, i).text() == key) return JsonValue(document_, i + 1);
  return std::nullopt;
}

}  // namespace motionrt
