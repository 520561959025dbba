// Keys to slots to partitions: the published vectors, and that nothing depends on the machine.
#include "domain/slot.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>

#include "random.hpp"

namespace {

using saga::domain::kSlots;
using saga::domain::murmur2;
using saga::domain::partition_of;
using saga::domain::slot_of;
using saga::domain::valid_partition_count;

struct Vector {
  std::string_view key;
  std::int32_t hash;
};

// As published in Apache Kafka's own unit test of its partitioner.
constexpr std::array kPublished{
    Vector{"21", -973932308},
    Vector{"foobar", -790332482},
    Vector{"a-little-bit-long-string", -985981536},
    Vector{"a-little-bit-longer-string", -1486304829},
    Vector{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
    Vector{"abc", 479470107},
};

TEST(Slot, murmur2_gives_the_published_hashes) {
  for (const Vector &vector : kPublished) {
    EXPECT_EQ(murmur2(vector.key), static_cast<std::uint32_t>(vector.hash)) << vector.key;
  }
}

TEST(Slot, slot_is_the_low_ten_bits_with_and_without_the_sign_bit) {
  for (const Vector &vector : kPublished) {
    const std::uint32_t positive = static_cast<std::uint32_t>(vector.hash) & 0x7fffffff;
    EXPECT_EQ(slot_of(vector.key), positive % 1024) << vector.key;
  }
}

// Frozen answers of our own: rows with these slots are on disk somewhere.
TEST(Slot, slots_of_stored_keys_never_change) {
  EXPECT_EQ(slot_of("21"), 236);
  EXPECT_EQ(slot_of("foobar"), 958);
  EXPECT_EQ(slot_of("abc"), 539);
  EXPECT_EQ(slot_of(""), 217);
}

TEST(Slot, short_tails_and_bytes_above_127_hash_as_in_other_implementations) {
  EXPECT_EQ(murmur2("a"), static_cast<std::uint32_t>(-1563381124));
  EXPECT_EQ(murmur2("ab"), 316155434U);
  // A signed char would spread its sign bit over the whole word and give both keys other hashes.
  EXPECT_EQ(murmur2("\xff"), 0xed6f615bU);
  EXPECT_EQ(murmur2("\xc3\xa9\xc3\xa9\xc3"), 0x35372277U);
}

TEST(Slot, zero_bytes_and_length_take_part_in_the_hash) {
  std::set<std::uint32_t> hashes;
  for (std::size_t length = 0; length < 64; ++length) hashes.insert(murmur2(std::string(length, '\0')));
  EXPECT_EQ(hashes.size(), 64U);
}

TEST(Slot, every_slot_is_in_range_and_every_slot_is_reached) {
  std::set<std::uint16_t> seen;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint16_t slot = slot_of("key-" + std::to_string(i));
    ASSERT_LT(slot, kSlots);
    seen.insert(slot);
  }
  EXPECT_EQ(seen.size(), kSlots);
}

TEST(Slot, partition_is_the_slot_modulo_the_partitions) {
  for (std::uint32_t partitions = 1; partitions <= kSlots; partitions *= 2) {
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
      const auto partition = partition_of(static_cast<std::uint16_t>(slot), static_cast<std::uint16_t>(partitions));
      ASSERT_EQ(partition, slot % partitions);
    }
  }
}

TEST(Slot, equal_keys_share_a_partition_whatever_the_number_of_partitions) {
  saga::test::Random random(1);
  for (int i = 0; i < 1000; ++i) {
    const std::string key = random.text(40);
    const std::string same(key);
    for (std::uint16_t partitions = 1; partitions <= kSlots; partitions = static_cast<std::uint16_t>(partitions * 2)) {
      ASSERT_EQ(partition_of(slot_of(key), partitions), partition_of(slot_of(same), partitions));
    }
  }
}

TEST(Slot, only_powers_of_two_up_to_the_slots_are_partition_counts) {
  std::set<std::int64_t> valid;
  for (std::int64_t count = -2000; count <= 5000; ++count) {
    if (valid_partition_count(count)) valid.insert(count);
  }
  EXPECT_EQ(valid, (std::set<std::int64_t>{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}));
  EXPECT_FALSE(valid_partition_count(std::numeric_limits<std::int64_t>::min()));
  EXPECT_FALSE(valid_partition_count(std::numeric_limits<std::int64_t>::max()));
  EXPECT_FALSE(valid_partition_count(std::int64_t{1} << 32));
}

#ifndef NDEBUG
TEST(SlotDeathTest, partition_of_stops_on_a_count_that_is_no_power_of_two) {
  EXPECT_DEATH(static_cast<void>(partition_of(0, 3)), "valid_partition_count");
  EXPECT_DEATH(static_cast<void>(partition_of(1024, 4)), "slot");
}
#endif

}  // namespace
