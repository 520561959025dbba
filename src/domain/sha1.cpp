// SHA-1 as FIPS 180-4 sections 5 and 6.1 describe it. A byte at a time: what is hashed here is a name of
// a few dozen bytes, and the plain form can be read beside the standard.
#include "domain/sha1.hpp"

#include <bit>

namespace saga::domain {

namespace {

constexpr std::size_t kRounds = 80;
constexpr std::size_t kRoundsPerPhase = 20;

using Schedule = std::array<std::uint32_t, kRounds>;
using Words = std::array<std::uint32_t, 5>;

constexpr std::array<std::uint32_t, 4> kPhaseConstants{0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};

// Section 4.1.1: Ch, Parity, Maj, Parity.
constexpr std::uint32_t phase_function(std::size_t phase, std::uint32_t x, std::uint32_t y, std::uint32_t z) noexcept {
  if (phase == 0) return (x & y) ^ (~x & z);
  if (phase == 2) return (x & y) ^ (x & z) ^ (y & z);
  return x ^ y ^ z;
}

Schedule schedule_of(std::span<const std::uint8_t> block) noexcept {
  Schedule words{};
  for (std::size_t i = 0; i < block.size(); ++i) words[i / 4] = (words[i / 4] << 8) | block[i];
  for (std::size_t t = block.size() / 4; t < kRounds; ++t) {
    words[t] = std::rotl(words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16], 1);
  }
  return words;
}

Words run_rounds(Words state, const Schedule &words) noexcept {
  auto [a, b, c, d, e] = state;
  for (std::size_t t = 0; t < kRounds; ++t) {
    const std::size_t phase = t / kRoundsPerPhase;
    const std::uint32_t mixed =
        std::rotl(a, 5) + phase_function(phase, b, c, d) + e + kPhaseConstants[phase] + words[t];
    e = d;
    d = c;
    c = std::rotl(b, 30);
    b = a;
    a = mixed;
  }
  return {a, b, c, d, e};
}

}  // namespace

void Sha1::mix_block() noexcept {
  const Words mixed = run_rounds(state_, schedule_of(block_));
  for (std::size_t i = 0; i < state_.size(); ++i) state_[i] += mixed[i];
}

void Sha1::add_byte(std::uint8_t byte) noexcept {
  block_[length_ % kBlockBytes] = byte;
  ++length_;
  if (length_ % kBlockBytes == 0) mix_block();
}

void Sha1::add(std::span<const std::uint8_t> bytes) noexcept {
  for (const std::uint8_t byte : bytes) add_byte(byte);
}

void Sha1::add(std::string_view text) noexcept {
  for (const char character : text) add_byte(static_cast<std::uint8_t>(character));
}

Sha1::Digest Sha1::digest() const noexcept {
  // Padding changes the state, so it happens to a copy.
  Sha1 padded = *this;
  const std::uint64_t bits = length_ * 8;
  padded.add_byte(0x80);
  while (padded.length_ % kBlockBytes != kBlockBytes - sizeof(bits)) padded.add_byte(0);
  for (int shift = 56; shift >= 0; shift -= 8) padded.add_byte(static_cast<std::uint8_t>(bits >> shift));

  Digest digest{};
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<std::uint8_t>(padded.state_[i / 4] >> (24 - 8 * (i % 4)));
  }
  return digest;
}

}  // namespace saga::domain
