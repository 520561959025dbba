// What the fuzzers share: a way to stop on a broken promise, and numbers read from the input's front, so
// that a corpus can be written by hand.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

namespace saga::fuzz {

/// Unlike assert, this is there in every build.
inline void require(bool promise) {
  if (!promise) std::abort();
}

class Input {
 public:
  Input(const std::uint8_t *data, std::size_t size) : bytes_(data, size) {}

  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return bytes_; }

  /// Little-endian; zeros follow the end of the input.
  std::uint64_t number(std::size_t width) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < width && !bytes_.empty(); ++i) {
      value |= std::uint64_t{bytes_.front()} << (8 * i);
      bytes_ = bytes_.subspan(1);
    }
    return value;
  }

  std::uint8_t small() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t count() { return static_cast<std::uint16_t>(number(2)); }
  std::int64_t integer() { return static_cast<std::int64_t>(number(8)); }
  double real() { return std::bit_cast<double>(number(8)); }

  /// As many characters as there are, at most length_max.
  std::string_view text(std::size_t length_max) {
    const std::size_t length = length_max < bytes_.size() ? length_max : bytes_.size();
    // A character may alias any object, so the bytes can be read as text where they are.
    const std::string_view text(reinterpret_cast<const char *>(bytes_.data()), length);
    bytes_ = bytes_.subspan(length);
    return text;
  }

  std::string_view rest() { return text(bytes_.size()); }

 private:
  std::span<const std::uint8_t> bytes_;
};

}  // namespace saga::fuzz
