// Which slot and which partition a key belongs to. 1,024 slots for the whole installation, the same for
// all topics and for ever, so equal keys live together; hashed as Apache Kafka's default partitioner does.
#pragma once

#include <cstdint>
#include <string_view>

#include "domain/base.hpp"

namespace saga::domain {

inline constexpr std::uint32_t kSlots = 1024;

/// MurmurHash2, 32 bit, seed 0x9747b28c: the variant of Apache Kafka's default partitioner.
[[nodiscard]] std::uint32_t murmur2(std::string_view bytes) noexcept;

/// The slot of a key: 0 .. kSlots - 1.
[[nodiscard]] std::uint16_t slot_of(std::string_view key) noexcept;

/// partitions is a power of two, 1 .. kSlots.
[[nodiscard]] std::uint16_t partition_of(std::uint16_t slot, std::uint16_t partitions) noexcept;

/// Whether a topic may have this many partitions.
[[nodiscard]] bool valid_partition_count(std::int64_t partitions) noexcept;

}  // namespace saga::domain
