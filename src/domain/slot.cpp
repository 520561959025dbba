// MurmurHash2 as Apache Kafka's default partitioner computes it, and the two masks that turn a hash into a
// slot and a slot into a partition. Nothing here may ever change: stored rows carry the slots.
#include "domain/slot.hpp"

#include <bit>
#include <cassert>
#include <cstddef>

namespace saga::domain {

namespace {

constexpr std::uint32_t kSeed = 0x9747b28c;
constexpr std::uint32_t kMultiplier = 0x5bd1e995;

// Bytes are unsigned and little-endian whatever the machine's char and byte order are.
constexpr std::uint32_t byte_at(std::string_view bytes, std::size_t index) noexcept {
  return static_cast<std::uint8_t>(bytes[index]);
}

constexpr std::uint32_t word_at(std::string_view bytes, std::size_t index) noexcept {
  return byte_at(bytes, index) | byte_at(bytes, index + 1) << 8 | byte_at(bytes, index + 2) << 16 |
         byte_at(bytes, index + 3) << 24;
}

constexpr std::uint32_t mix_word(std::uint32_t hash, std::uint32_t word) noexcept {
  word *= kMultiplier;
  word ^= word >> 24;
  word *= kMultiplier;
  return (hash * kMultiplier) ^ word;
}

// The one to three bytes after the last whole word.
constexpr std::uint32_t mix_tail(std::uint32_t hash, std::string_view bytes, std::size_t start) noexcept {
  if (start == bytes.size()) return hash;
  for (std::size_t i = start; i < bytes.size(); ++i) hash ^= byte_at(bytes, i) << (8 * (i - start));
  return hash * kMultiplier;
}

constexpr std::uint32_t hash_of(std::string_view bytes) noexcept {
  // Only the low 32 bits of the length take part, as in Kafka, whose lengths have no more.
  std::uint32_t hash = kSeed ^ static_cast<std::uint32_t>(bytes.size());
  const std::size_t whole = bytes.size() - bytes.size() % 4;
  for (std::size_t i = 0; i < whole; i += 4) hash = mix_word(hash, word_at(bytes, i));
  hash = mix_tail(hash, bytes, whole);
  hash ^= hash >> 13;
  hash *= kMultiplier;
  return hash ^ (hash >> 15);
}

static_assert(std::has_single_bit(kSlots), "the slot is the low bits of the hash");
static_assert(hash_of("21") == static_cast<std::uint32_t>(-973932308));
static_assert(hash_of("foobar") == static_cast<std::uint32_t>(-790332482));
static_assert(hash_of("a-little-bit-long-string") == static_cast<std::uint32_t>(-985981536));
static_assert(hash_of("a-little-bit-longer-string") == static_cast<std::uint32_t>(-1486304829));
static_assert(hash_of("abc") == 479470107);

}  // namespace

std::uint32_t murmur2(std::string_view bytes) noexcept { return hash_of(bytes); }

std::uint16_t slot_of(std::string_view key) noexcept {
  // Kafka clears the sign bit before it takes the remainder; the low bits are the same without.
  return static_cast<std::uint16_t>(hash_of(key) & (kSlots - 1));
}

std::uint16_t partition_of(std::uint16_t slot, std::uint16_t partitions) noexcept {
  assert(slot < kSlots);
  assert(valid_partition_count(partitions));
  return static_cast<std::uint16_t>(slot & (partitions - 1));
}

bool valid_partition_count(std::int64_t partitions) noexcept {
  if (partitions < 1 || partitions > static_cast<std::int64_t>(kSlots)) return false;
  return std::has_single_bit(static_cast<std::uint64_t>(partitions));
}

}  // namespace saga::domain
