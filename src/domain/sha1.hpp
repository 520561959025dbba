// SHA-1 (FIPS 180-4), because RFC 9562 builds name-based uuids on it. Internal to the core: it makes
// identifiers and protects nothing, so nobody else may use it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "domain/base.hpp"

namespace saga::domain {

class Sha1 {
 public:
  using Digest = std::array<std::uint8_t, 20>;

  void add(std::span<const std::uint8_t> bytes) noexcept;
  void add(std::string_view text) noexcept;

  /// Of everything added so far; more may be added afterwards.
  [[nodiscard]] Digest digest() const noexcept;

 private:
  static constexpr std::size_t kBlockBytes = 64;

  void add_byte(std::uint8_t byte) noexcept;
  void mix_block() noexcept;

  std::array<std::uint32_t, 5> state_{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  std::array<std::uint8_t, kBlockBytes> block_{};
  std::uint64_t length_ = 0;  // bytes added so far; the block holds the last length_ % kBlockBytes of them
};

}  // namespace saga::domain
