// SHA-256 (FIPS 180-4).
#pragma once

#include <cstddef>
#include <string>

namespace motionrt {

// 64 lowercase hex digits.
std::string sha256_hex(const void* data, std::size_t bytes);

}  // namespace motionrt
