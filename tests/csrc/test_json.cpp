#include "check.hpp"
#include "json.hpp"
#include "tiny_bundle.hpp"

using motionrt::JsonDocument;

namespace {

std::string error_of(const std::string& text) {
  try {
    JsonDocument document(text, "f.json");
    return "";
  } catch (const motionrt::BundleError& error) {
    return error.what();
  }
}

void values_are_read() {
  const std::string text =
      " {\"a\": [1, -2.5e1, \"x\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\ude00\", true, false, null, {}, "
      "[]],\r\n"
      "\t\"b\": {\"\\u0063\": 0}, \"\": \"caf\xc3\xa9\"} ";
  const JsonDocument document(text, "f.json");
  const auto root = document.root();
  CHECK(root.is_object() && !root.is_list() && root.members().size() == 3);
  const auto items = root.find("a")->items();
  CHECK(items.size() == 8);
  CHECK(items[0].integer() == 1 && items[0].number() == 1.0);
  CHECK(items[1].number() == -25.0 && !items[1].integer());
  CHECK(items[2].text() == "x\"\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x98\x80");
  CHECK(items[3].source() == "true" && items[4].source() == "false" && items[5].is_null());
  CHECK(items[6].is_object() && items[6].members().empty());
  CHECK(items[7].is_list() && items[7].items().empty());
  CHECK(root.find("b")->find("c")->integer() == 0);
  CHECK(root.find("")->text() == "caf\xc3\xa9");
  CHECK(root.members()[1].key == "b" && root.members()[1].value.source() == "{\"\\u0063\": 0}");
  CHECK(!root.find("c") && !items[0].find("a") && !items[0].text() && !items[3].number() && !items[2].integer());
}

void numbers_are_exact_or_nothing() {
  const std::string text =
      "[0.1, 1e-400, 1e400, 999999999999999999, 99999999999999999999, -0, 1.0, 1e2, -1E+2, "
      "1.7976931348623157e308]";
  const JsonDocument document(text, "f.json");
  const auto items = document.root().items();
  CHECK(items[0].number() == 0.1);
  CHECK(items[1].number() == 0.0);
  CHECK(!items[2].number());
  CHECK(items[3].integer() == 999999999999999999);
  CHECK(!items[4].integer() && items[4].number() == 1e20);
  CHECK(items[5].integer() == 0);
  CHECK(!items[6].integer() && items[6].number() == 1.0);
  CHECK(!items[7].integer() && items[7].number() == 100.0 && items[8].number() == -100.0);
  CHECK(items[9].number() == 1.7976931348623157e308);
}

void invalid_json_is_rejected() {
  const char* bad[] = {"",
                       " ",
                       "{",
                       "[",
                       "]",
                       "[1",
                       "[1,",
                       "[1,]",
                       "[,1]",
                       "{\"a\"}",
                       "{\"a\":}",
                       "{\"a\":1,}",
                       "{a:1}",
                       "{'a':1}",
                       "{1:1}",
                       "1 2",
                       "{}{}",
                       "nul",
                       "nulll",
                       "True",
                       "NaN",
                       "[NaN]",
                       "Infinity",
                       "-Infinity",
                       "-",
                       "+1",
                       "01",
                       "-01",
                       "1.",
                       ".5",
                       "1e",
                       "1e+",
                       "0x10",
                       "1_0",
                       "\"",
                       "\"a",
                       "\"\\\"",
                       "\"\\x41\"",
                       "\"\\u12\"",
                       "\"\\u12g4\"",
                       "\"\\ud800\"",
                       "\"\\udc00\"",
                       "\"\\ud800\\u0041\"",
                       "\"a\nb\"",
                       "\"\x01\"",
                       "\"\xff\"",
                       "\"\xc3\"",
                       "\"\xc0\x80\"",
                       "\"\xe0\x80\x80\"",
                       "\"\xed\xa0\x80\"",
                       "\"\xf4\x90\x80\x80\"",
                       "\"\xf8\x88\x80\x80\x80\"",
                       "\"\x80\"",
                       "\xef\xbb\xbf{}",
                       "[1] // x",
                       "/**/1"};
  for (const std::string text : bad)
    report(error_of(text).find("f.json: not valid JSON") == 0, __FILE__, __LINE__, "accepted: " + text);
  CHECK_REJECTED(JsonDocument(std::string("\"\0\"", 3), "f.json"), "control character in a string at byte 1");
  CHECK_REJECTED(JsonDocument(std::string("[1]\0", 4), "f.json"), "unexpected text after the end at byte 3");
  CHECK_REJECTED(JsonDocument("[1, x]", "f.json"), "f.json: not valid JSON (expected a value at byte 4)");
}

void duplicate_keys_are_rejected() {
  CHECK_REJECTED(JsonDocument("{\"a\": 1, \"b\": 2, \"\\u0061\": 3}", "f.json"), "duplicate key 'a'");
  CHECK(error_of("[{\"a\": 1}, {\"a\": {\"a\": 1}}]").empty());
}

void depth_and_size_are_limited() {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(error_of(nested(motionrt::kMaxJsonDepth)).empty());
  CHECK_REJECTED(JsonDocument(nested(motionrt::kMaxJsonDepth + 1), "f.json"), "nested too deeply");
  CHECK_REJECTED(JsonDocument(std::string(1 << 20, '['), "f.json"), "nested too deeply");
  CHECK_REJECTED(JsonDocument(std::string(motionrt::kMaxJsonBytes + 1, ' '), "f.json"), "16777217 bytes");
  std::string many = "[0";
  for (std::size_t i = 0; i + 2 < motionrt::kMaxJsonValues; ++i) many += ",0";
  CHECK(error_of(many + "]").empty());
  CHECK_REJECTED(JsonDocument(many + ",0]", "f.json"), "too many values");
}

void excerpts_are_one_short_line() {
  const std::string umlauts = "\"" + std::string(78, 'x') + "\xc3\xa9\xc3\xa9\"";
  const std::string text = "[[\n  1,\r\n\t2, 3\n ], " + umlauts + ", \"\x7f\"]";
  const JsonDocument document(text, "f.json");
  const auto items = document.root().items();
  CHECK(items[0].excerpt() == "[1,2, 3]");
  CHECK(items[1].excerpt() == "\"" + std::string(78, 'x') + "...");
  CHECK(items[2].excerpt() == "\"?\"");
}

}  // namespace

int main() {
  values_are_read();
  numbers_are_exact_or_nothing();
  invalid_json_is_rejected();
  duplicate_keys_are_rejected();
  depth_and_size_are_limited();
  excerpts_are_one_short_line();
  return result();
}
