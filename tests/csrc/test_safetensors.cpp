#include <cstdlib>
#include <limits>
#include <new>

#include "check.hpp"
#include "json.hpp"
#include "safetensors.hpp"
#include "tiny_bundle.hpp"

namespace {

std::size_t largest_allocation = 0;

}  // namespace

// Not inlined, or GCC takes free for a mismatch with new.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  largest_allocation = std::max(largest_allocation, bytes);
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

using motionrt::parse_safetensors;
using motionrt::require_tensor;

namespace {

const std::string kEntry = R"("a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]})";

// A file with one tensor "a" of 8 bytes and these fields.
std::string one(const std::string& dtype, const std::string& shape, const std::string& span) {
  return safetensors(
      aligned(R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + span + "}}"),
      std::string(8, '\0'));
}

void tensors_are_read() {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"shape":[],"data_offsets":[8,12],"dtype":"F32"},)" + kEntry +
      R"(,"none":{"dtype":"F32","shape":[0,3],"data_offsets":[12,12]},)" +
      R"("i":{"dtype":"I8","shape":[3],"data_offsets":[12,15]}})";
  const auto tensors = parse_safetensors(safetensors(aligned(header), float_bytes({1, -2, 3}) + "\x01\x02\x03"), "w");
  CHECK(tensors.size() == 4);
  CHECK((tensors.find("a")->values == std::vector<float>{1, -2}));
  CHECK((tensors.find("b")->values == std::vector<float>{3}) && tensors.find("b")->shape.empty());
  CHECK(tensors.find("none")->values.empty() && (tensors.find("none")->shape == motionrt::Shape{0, 3}));
  CHECK(tensors.find("i")->dtype == "I8" && tensors.find("i")->values.empty());
  CHECK(!tensors.find("c") && !tensors.find("__metadata__"));
  CHECK(parse_safetensors(safetensors("{}", ""), "w").size() == 0);
}

void invalid_files_are_rejected() {
  const std::string data(8, '\0'), header = aligned("{" + kEntry + "}");
  const struct {
    std::string file, part;
  } attacks[] = {
      {"", "w: 0 bytes is too short"},
      {"1234567", "7 bytes is too short"},
      {std::string(8, '\xff'), "header of 18446744073709551615 bytes, at most"},
      {little_endian(16777217, 8) + header, "at most 16777216"},
      {little_endian(header.size() + 1, 8) + header, "bytes in a file of"},
      {little_endian(0, 8), "does not start with '{'"},
      {safetensors(" " + header, data), "does not start with '{'"},
      {safetensors("[]", ""), "does not start with '{'"},
      {safetensors(header + "x", data), "not valid JSON"},
      {safetensors("{" + kEntry + "," + kEntry + "}", data), "duplicate key 'a'"},
      {safetensors(R"({"__metadata__":{"format":1},)" + kEntry + "}", data), "texts to texts"},
      {safetensors(R"({"__metadata__":[],)" + kEntry + "}", data), "texts to texts"},
      {safetensors(R"({"a":[]})", ""), "tensor 'a': [], expected exactly"},
      {safetensors(R"({"a":{"dtype":"F32","shape":[0]}})", ""), "expected exactly"},
      {safetensors(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0],"x":0}})", ""), "expected exactly"},
      {one("\"F64\"", "[1]", "[0,8]"), "dtype \"F64\", expected one of F32"},
      {one("4", "[2]", "[0,8]"), "dtype 4"},
      {one("\"F32\"", "2", "[0,8]"), "shape 2,"},
      {one("\"F32\"", "[2.0]", "[0,8]"), "shape [2.0]"},
      {one("\"F32\"", "[2e0]", "[0,8]"), "shape [2e0]"},
      {one("\"F32\"", "[-2]", "[0,8]"), "shape [-2]"},
      {one("\"F32\"", "[true,2]", "[0,8]"), "shape [true,2]"},
      {one("\"F32\"", "[\"2\"]", "[0,8]"), "shape [\"2\"]"},
      {one("\"F32\"", "[1e400]", "[0,8]"), "shape [1e400]"},
      {one("\"F32\"", "[18446744073709551618]", "[0,8]"), "shape [18446744073709551618]"},
      {one("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), "at most 8 sizes"},
      {one("\"F32\"", "[2]", "[0]"), "data_offsets [0]"},
      {one("\"F32\"", "[2]", "[0,8,8]"), "data_offsets [0,8,8]"},
      {one("\"F32\"", "[2]", "[8,0]"), "begin <= end"},
      {one("\"F32\"", "[2]", "[-8,0]"), "data_offsets [-8,0]"},
      {one("\"F32\"", "[2]", "[0,8.0]"), "data_offsets [0,8.0]"},
      {one("\"F32\"", "[3]", "[0,8]"), "8 bytes, shape [3] of F32 needs 12"},
      {one("\"I64\"", "[999999999999999999,10]", "[0,8]"), "needs 9223372036854775807"},
      {one("\"F32\"", "[4294967296,4294967296]", "[0,0]"), "needs 9223372036854775807"},
      {one("\"F32\"", "[250000000000]", "[0,1000000000000]"), "ends at byte 1000000000000 of 8"},
      {one("\"F32\"", "[1]", "[4,8]"), "leaves a hole at byte 0"},
      {one("\"F32\"", "[1]", "[0,4]"), "4 bytes after the last tensor"},
      {safetensors("{}", data), "8 bytes after the last tensor"},
      {safetensors(aligned("{" + kEntry + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})"), data),
       "tensor 'b' overlaps the tensor before it"},
      {safetensors(header + " ", data), "tensor 'a': not aligned to its 4-byte elements"},
      {safetensors(header, data.substr(1)), "tensor 'a' ends at byte 8 of 7"},
      {safetensors("{\"\\u001b[2J\\n" + std::string(1000, 'x') + "\":1}", ""), "tensor '?[2Jxxx"},
  };
  for (const auto& [file, part] : attacks) CHECK_REJECTED(parse_safetensors(file, "w"), part);
}

void a_file_of_another_length_is_rejected() {
  const std::string file = tiny_weights();
  for (std::size_t size = 0; size < file.size(); ++size)
    CHECK_REJECTED(parse_safetensors(file.substr(0, size), "w"), "w: ");
  CHECK_REJECTED(parse_safetensors(file + '\0', "w"), "1 bytes after the last tensor");
}

void empty_tensors_may_have_any_size() {
  const auto tensors = parse_safetensors(
      safetensors(aligned(R"({"a":{"dtype":"F32","shape":[999999999999999999,9999,0],"data_offsets":[0,0]}})"), ""),
      "w");
  CHECK(tensors.find("a")->values.empty());
}

void memory_is_bounded_by_the_file() {
  std::string values = "[0", members = "\"0\":0";
  for (int i = 1; i < 200'000; ++i) {
    values += ",0";
    members += ",\"" + std::to_string(i) + "\":0";
  }
  const std::string files[] = {
      one("\"F32\"", "[999999999999999999]", "[0,999999999999999999]"),
      one("\"F32\"", values + "]", "[0,8]"),
      safetensors(R"({"a":)" + values + "]}", ""),
      safetensors(R"({"a":{)" + members + "}}", ""),
      safetensors("{" + members + "}", ""),
  };
  for (const std::string& file : files) {
    largest_allocation = 0;
    CHECK_REJECTED(parse_safetensors(file, "w"), "w: tensor ");
    CHECK(largest_allocation <= 16 * file.size() + 1024);
  }
}

void a_required_tensor_is_checked() {
  const auto tensors = [](const std::string& data) {
    return parse_safetensors(safetensors(aligned("{" + kEntry + "}"), data), "w");
  };
  const auto good = tensors(float_bytes({1, 2}));
  CHECK(&require_tensor(good, "a", {2, 1}, "w") == good.find("a"));
  CHECK_REJECTED(require_tensor(good, "b", {2, 1}, "w"), "w: tensor 'b' is missing, expected F32 [2, 1]");
  CHECK_REJECTED(require_tensor(good, "a", {1, 2}, "w"), "w: tensor 'a' is F32 [2, 1], expected F32 [1, 2]");
  CHECK_REJECTED(require_tensor(good, "a", {2}, "w"), "expected F32 [2]");
  const auto half = parse_safetensors(one("\"F16\"", "[4]", "[0,8]"), "w");
  CHECK_REJECTED(require_tensor(half, "a", {4}, "w"), "'a' is F16 [4], expected F32 [4]");
  const float not_finite[] = {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()};
  for (const float bad : not_finite)
    CHECK_REJECTED(require_tensor(tensors(float_bytes({1, bad})), "a", {2, 1}, "w"), "at 1, expected finite numbers");
}

}  // namespace

int main() {
  tensors_are_read();
  invalid_files_are_rejected();
  a_file_of_another_length_is_rejected();
  empty_tensors_may_have_any_size();
  memory_is_bounded_by_the_file();
  a_required_tensor_is_checked();
  return result();
}
