// Strict reader of the safetensors format: an 8-byte little-endian header length, a JSON header
// {name: {dtype, shape, data_offsets}} and the tensors' bytes, contiguous, row-major, little-endian.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "errors.hpp"

namespace motionrt {

using Shape = std::vector<std::int64_t>;

struct Tensor {
  std::string dtype;  // F32, F16, BF16, I64, I32, I8 or U8
  Shape shape;
  std::vector<float> values;  // of an F32 tensor, row-major; empty for the others
};

// The tensors of a file by name.
class Tensors {
 public:
  const Tensor* find(std::string_view name) const;  // null if there is none
  std::size_t size() const { return tensors_.size(); }
  auto begin() const { return tensors_.begin(); }
  auto end() const { return tensors_.end(); }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  friend Tensors parse_safetensors(std::string_view bytes, const std::string& where);
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

// bytes: the whole file. Throws BundleError, prefixed with `where`, on any deviation from the format.
Tensors parse_safetensors(std::string_view bytes, const std::string& where);

// The F32 tensor `name`. Throws BundleError if it is missing, has another dtype or shape, or is not finite.
const Tensor& require_tensor(const Tensors& tensors, const std::string& name, const Shape& shape,
                             const std::string& where);

}  // namespace motionrt
