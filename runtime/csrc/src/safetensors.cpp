#include "safetensors.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>
#include <tuple>
#include <utility>

#include "json.hpp"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "motionrt supports little-endian machines only"
#endif

namespace motionrt {

namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kMaxDims = 8;
const std::map<std::string, std::int64_t> kElementBytes = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},
                                                           {"I32", 4}, {"I8", 1},  {"U8", 1}};

struct Entry {
  std::int64_t begin, end;  // bytes after the header
  std::string name;
  Tensor tensor;
};

std::string shape_text(const Shape& shape) {
  std::ostringstream text;
  for (const auto& size : shape) text << (&size == shape.data() ? "" : ", ") << size;
  return "[" + text.str() + "]";
}

// A list of at most `most` nonnegative integers; false if the value is anything else.
bool read_sizes(const JsonValue& value, std::size_t most, Shape& sizes) {
  if (!value.is_list()) return false;
  for (const JsonValue& item : value.items()) {
    const auto size = item.integer();
    if (!size || *size < 0 || sizes.size() == most) return false;
    sizes.push_back(*size);
  }
  return true;
}

// Bytes of a tensor; the largest integer on overflow.
std::int64_t count_bytes(const Shape& shape, std::int64_t element_bytes) {
  if (std::count(shape.begin(), shape.end(), 0) > 0) return 0;
  std::int64_t bytes = element_bytes;
  for (const auto size : shape) {
    constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
    if (size > kMost / bytes) return kMost;
    bytes *= size;
  }
  return bytes;
}

Entry read_entry(const std::string& name, const JsonValue& value, std::size_t header_end, const std::string& where) {
  const auto bad = [&](const auto&... parts) {
    throw_bundle_error(where, ": tensor ", single_quoted(name), ": ", parts...);
  };
  const auto dtype = value.find("dtype"), shape = value.find("shape"), span = value.find("data_offsets");
  if (!dtype || !shape || !span || value.members().size() != 3)
    bad(value.excerpt(), ", expected exactly dtype, shape and data_offsets");

  Entry entry{0, 0, name, {}};
  entry.tensor.dtype = dtype->text().value_or("");
  const auto element = kElementBytes.find(entry.tensor.dtype);
  if (element == kElementBytes.end())
    bad("dtype ", dtype->excerpt(), ", expected one of F32, F16, BF16, I64, I32, I8, U8");
  if (!read_sizes(*shape, kMaxDims, entry.tensor.shape))
    bad("shape ", shape->excerpt(), ", expected at most ", kMaxDims, " sizes of 0 or more");
  Shape offsets;
  if (!read_sizes(*span, 2, offsets) || offsets.size() != 2 || offsets[0] > offsets[1])
    bad("data_offsets ", span->excerpt(), ", expected [begin, end] with begin <= end");
  entry.begin = offsets[0];
  entry.end = offsets[1];
  const std::int64_t bytes = count_bytes(entry.tensor.shape, element->second);
  if (entry.end - entry.begin != bytes)
    bad(entry.end - entry.begin, " bytes, shape ", shape->excerpt(), " of ", entry.tensor.dtype, " needs ", bytes);
  if ((static_cast<std::int64_t>(header_end) + entry.begin) % element->second != 0)
    bad("not aligned to its ", element->second, "-byte elements");
  return entry;
}

void check_metadata(const JsonValue& metadata, const std::string& where) {
  bool good = metadata.is_object();
  for (const auto& [key, value] : metadata.members()) good = good && value.is_text();
  if (!good) throw_bundle_error(where, ": __metadata__ must map texts to texts");
}

// Checks that the sorted entries fill the `bytes` after the header without gap or overlap.
void check_coverage(const std::vector<Entry>& entries, std::int64_t bytes, const std::string& where) {
  std::int64_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.end > bytes)
      throw_bundle_error(where, ": tensor ", single_quoted(entry.name), " ends at byte ", entry.end, " of ", bytes);
    if (entry.begin < position)
      throw_bundle_error(where, ": tensor ", single_quoted(entry.name), " overlaps the tensor before it");
    if (entry.begin > position)
      throw_bundle_error(where, ": tensor ", single_quoted(entry.name), " leaves a hole at byte ", position);
    position = entry.end;
  }
  if (position != bytes) throw_bundle_error(where, ": ", bytes - position, " bytes after the last tensor");
}

}  // namespace

const Tensor* Tensors::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

Tensors parse_safetensors(std::string_view bytes, const std::string& where) {
  if (bytes.size() < kLengthBytes)
    throw_bundle_error(where, ": ", bytes.size(), " bytes is too short for a safetensors file");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  if (header_bytes > kMaxJsonBytes)
    throw_bundle_error(where, ": header of ", header_bytes, " bytes, at most ", kMaxJsonBytes, " are allowed");
  if (header_bytes > bytes.size() - kLengthBytes)
    throw_bundle_error(where, ": header of ", header_bytes, " bytes in a file of ", bytes.size());
  const std::size_t header_end = kLengthBytes + static_cast<std::size_t>(header_bytes);
  if (header_bytes == 0 || bytes[kLengthBytes] != '{')
    throw_bundle_error(where, ": the header does not start with '{'");

  Tensors tensors;
  const JsonDocument header(bytes.substr(kLengthBytes, header_end - kLengthBytes), where);
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.root().members()) {
    if (name != "__metadata__") {
      entries.push_back(read_entry(name, value, header_end, where));
      continue;
    }
    check_metadata(value, where);
    for (const auto& [key, text] : value.members()) tensors.metadata_.emplace(key, text.text().value());
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  const std::string_view data = bytes.substr(header_end);
  check_coverage(entries, static_cast<std::int64_t>(data.size()), where);

  for (Entry& entry : entries) {
    const auto size = static_cast<std::size_t>(entry.end - entry.begin);
    if (entry.tensor.dtype == "F32" && size > 0) {
      entry.tensor.values.resize(size / sizeof(float));
      std::memcpy(entry.tensor.values.data(), data.data() + entry.begin, size);
    }
    tensors.tensors_.emplace(std::move(entry.name), std::move(entry.tensor));
  }
  return tensors;
}

const Tensor& require_tensor(const Tensors& tensors, const std::string& name, const Shape& shape,
                             const std::string& where) {
  const Tensor* tensor = tensors.find(name);
  if (!tensor)
    throw_bundle_error(where, ": tensor ", single_quoted(name), " is missing, expected F32 ", shape_text(shape));
  if (tensor->dtype != "F32" || tensor->shape != shape)
    throw_bundle_error(where, ": tensor ", single_quoted(name), " is ", tensor->dtype, " ", shape_text(tensor->shape),
                       ", expected F32 ", shape_text(shape));
  for (std::size_t i = 0; i < tensor->values.size(); ++i)
    if (!std::isfinite(tensor->values[i]))
      throw_bundle_error(where, ": tensor ", single_quoted(name), " holds ", tensor->values[i], " at ", i,
                         ", expected finite numbers");
  return *tensor;
}

}  // namespace motionrt
