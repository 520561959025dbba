// Packed deliveries: nothing is lost, the bytes are few, and damage is noticed.
#include "domain/delivery_pack.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "random.hpp"

namespace {

using saga::domain::Delivery;
using saga::domain::DeliveryPack;
using saga::domain::Position;
using saga::domain::unpack;
using saga::test::Random;

using Bytes = std::vector<std::uint8_t>;

constexpr Position kFirst = std::numeric_limits<Position>::min();
constexpr Position kLast = std::numeric_limits<Position>::max();
constexpr std::uint32_t kLongest = std::numeric_limits<std::uint32_t>::max();

Bytes packed(const std::vector<Delivery> &deliveries) {
  DeliveryPack pack;
  for (const Delivery &delivery : deliveries) pack.add(delivery);
  return pack.bytes();
}

std::vector<Delivery> random_deliveries(Random &random) {
  std::vector<Delivery> deliveries(random.below(50));
  for (Delivery &delivery : deliveries) {
    delivery = {random.integer(), static_cast<std::uint32_t>(random.number())};
  }
  return deliveries;
}

TEST(DeliveryPack, what_was_packed_is_unpacked) {
  Random random(8);
  for (int i = 0; i < 2000; ++i) {
    const std::vector<Delivery> deliveries = random_deliveries(random);
    ASSERT_EQ(unpack(packed(deliveries)), deliveries);
  }
}

TEST(DeliveryPack, extremes_of_position_and_time_survive) {
  const std::vector<Delivery> deliveries{{kLast, kLongest}, {kFirst, 0}, {kLast, 1},  {0, kLongest}, {kFirst, 0},
                                         {-1, 0},           {1, 0},      {kFirst, 0}, {kFirst, 0},   {kLast, kLongest}};
  EXPECT_EQ(unpack(packed(deliveries)), deliveries);
}

TEST(DeliveryPack, order_of_delivery_and_repeats_are_kept) {
  const std::vector<Delivery> deliveries{{9, 1}, {3, 2}, {3, 2}, {100, 3}};
  EXPECT_EQ(unpack(packed(deliveries)), deliveries);
}

TEST(DeliveryPack, no_delivery_is_no_byte) {
  EXPECT_TRUE(DeliveryPack().bytes().empty());
  EXPECT_EQ(unpack({}), std::vector<Delivery>());
}

TEST(DeliveryPack, count_is_the_number_added) {
  DeliveryPack pack;
  for (std::uint32_t i = 0; i < 10; ++i) {
    EXPECT_EQ(pack.count(), i);
    pack.add({i, i});
  }
}

// The form on disk: the zigzag distance, then the microseconds.
TEST(DeliveryPack, bytes_on_disk_never_change) {
  EXPECT_EQ(packed({{1, 5}, {2, 300}, {1, 0}, {200, 127}}), (Bytes{2, 5, 2, 0xac, 0x02, 1, 0, 0x8e, 0x03, 127}));
}

TEST(DeliveryPack, a_neighbour_handled_within_127_microseconds_takes_two_bytes) {
  std::vector<Delivery> deliveries;
  for (Position i = 0; i < 1000; ++i) deliveries.push_back({1'000'000'000 + i, 100});
  EXPECT_LE(packed(deliveries).size(), 2 * deliveries.size() + 4);
}

TEST(DeliveryPack, what_is_accepted_packs_again_to_the_same_bytes) {
  Random random(9);
  int accepted = 0;
  for (int i = 0; i < 200'000; ++i) {
    Bytes bytes(random.below(12));
    // Mostly small bytes, so that many inputs are whole.
    for (std::uint8_t &byte : bytes) byte = static_cast<std::uint8_t>(random.below(random.below(4) == 0 ? 256 : 128));
    const auto deliveries = unpack(bytes);
    if (!deliveries) continue;
    ++accepted;
    ASSERT_EQ(packed(*deliveries), bytes);
  }
  EXPECT_GT(accepted, 1000);
}

TEST(DeliveryPack, a_cut_pack_is_refused_or_is_a_shorter_one) {
  const std::vector<Delivery> deliveries{{1'000'000, 70'000}, {1'000'001, 5}, {2'000'000, kLongest}};
  const Bytes whole = packed(deliveries);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto cut = unpack(std::span(whole).first(length));
    if (!cut) continue;
    ASSERT_LT(cut->size(), deliveries.size());
    ASSERT_TRUE(std::equal(cut->begin(), cut->end(), deliveries.begin()));
  }
}

TEST(DeliveryPack, damage_is_refused) {
  const Bytes eighty_bits(10, 0xff);
  const std::vector<Bytes> damaged{
      {2},                                                                 // no time
      {0x80},                                                              // ends inside a varint
      {2, 0x80},                                                           // ends inside the time
      {0x80, 0x00, 1},                                                     // longer than its value needs
      {2, 0x81, 0x00},                                                     // the same in the time
      {2, 0xff, 0xff, 0xff, 0xff, 0x1f},                                   // more than 32 bits of time
      {2, 0x80, 0x80, 0x80, 0x80, 0x10},                                   // the least of those
      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 1},     // more than 64 bits
      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0, 1},  // eleven bytes
      eighty_bits,
  };
  for (const Bytes &bytes : damaged) EXPECT_FALSE(unpack(bytes)) << ::testing::PrintToString(bytes);
}

TEST(DeliveryPack, the_longest_varints_are_accepted) {
  const auto deliveries =
      unpack(Bytes{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0xff, 0xff, 0xff, 0xff, 0x0f});
  EXPECT_EQ(deliveries, (std::vector<Delivery>{{kFirst, kLongest}}));
}

}  // namespace
