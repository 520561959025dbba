// Identifiers: the RFC's examples, the text form, and that ids of different origin stay apart.
#include "domain/uuid.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>

#include "random.hpp"

namespace {

using saga::domain::event_id_of;
using saga::domain::format_uuid;
using saga::domain::idempotent_event_id;
using saga::domain::kSagaNamespace;
using saga::domain::parse_uuid;
using saga::domain::Uuid;
using saga::domain::uuid_v5;
using saga::domain::uuid_v7;
using saga::test::Random;

constexpr std::string_view kDnsNamespace = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
constexpr std::string_view kUrlNamespace = "6ba7b811-9dad-11d1-80b4-00c04fd430c8";

Uuid uuid(std::string_view text) { return parse_uuid(text).value(); }

Uuid random_uuid(Random &random) {
  Uuid id;
  for (std::uint8_t &byte : id.bytes) byte = static_cast<std::uint8_t>(random.word());
  return id;
}

bool stamped(const Uuid &id, unsigned version) { return id.bytes[6] >> 4 == version && id.bytes[8] >> 6 == 2; }

TEST(Uuid, text_and_bytes_round_trip_in_either_case) {
  Random random(2);
  for (int i = 0; i < 1000; ++i) {
    const Uuid id = random_uuid(random);
    std::string text = format_uuid(id);
    ASSERT_EQ(parse_uuid(text), id);
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    ASSERT_EQ(parse_uuid(text), id);
  }
}

TEST(Uuid, format_is_lower_case_with_dashes_at_8_4_4_4_12) {
  EXPECT_EQ(format_uuid(Uuid{}), "00000000-0000-0000-0000-000000000000");
  EXPECT_EQ(format_uuid(uuid("FEDCBA98-7654-3210-0123-456789ABCDEF")), "fedcba98-7654-3210-0123-456789abcdef");
}

TEST(Uuid, everything_but_the_canonical_form_is_refused) {
  for (const std::string_view text :
       {"", "-", "fedcba98", "fedcba98765432100123456789abcdef", "{fedcba98-7654-3210-0123-456789abcdef}",
        "fedcba98-7654-3210-0123-456789abcde", "fedcba98-7654-3210-0123-456789abcdef0",
        "fedcba98-7654-3210-0123-456789abcdeg", "fedcba98-7654-3210-0123_456789abcdef",
        "fedcba987-654-3210-0123-456789abcdef", " fedcba98-7654-3210-0123-456789abcde",
        "fedcba98-7654-3210-0123-456789abcde ", "------------------------------------",
        "fedcba98-7654-3210-0123-456789abc:ef", "fedcba98-7654-3210-0123-456789abc@ef",
        "fedcba98-7654-3210-0123-456789abc`ef", "fedcba98-7654-3210-0123-456789abc/ef"}) {
    EXPECT_FALSE(parse_uuid(text)) << text;
  }
}

TEST(Uuid, one_wrong_byte_anywhere_is_refused) {
  const std::string good = format_uuid(uuid(kDnsNamespace));
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const char wrong : {'g', 'x', ' ', '\0', '\xff'}) {
      std::string text = good;
      text[at] = wrong;
      ASSERT_FALSE(parse_uuid(text)) << text;
    }
  }
}

TEST(Uuid, v5_gives_the_example_of_the_rfc) {
  EXPECT_EQ(format_uuid(uuid_v5(uuid(kDnsNamespace), "www.example.com")), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

TEST(Uuid, v7_gives_the_example_of_the_rfc) {
  EXPECT_EQ(format_uuid(uuid_v7(0x017f22e279b0, 0xcc3, 0x18c4dc0c0c07398f)), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}

TEST(Uuid, every_made_uuid_carries_its_version_and_the_variant) {
  Random random(3);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(stamped(uuid_v5(random_uuid(random), random.text(50)), 5));
    ASSERT_TRUE(stamped(uuid_v7(random.number(), random.number(), random.number()), 7));
  }
}

TEST(Uuid, v7_ids_of_later_milliseconds_sort_later) {
  Random random(4);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t earlier = random.below((std::uint64_t{1} << 48) - 1);
    const std::uint64_t later = earlier + 1;
    ASSERT_LT(uuid_v7(earlier, random.number(), random.number()).bytes,
              uuid_v7(later, random.number(), random.number()).bytes);
  }
}

TEST(Uuid, v7_keeps_all_74_random_bits_and_no_other) {
  const Uuid zero = uuid_v7(0, 0, 0);
  int changing = 0;
  for (unsigned bit = 0; bit < 64; ++bit) {
    changing += uuid_v7(0, std::uint64_t{1} << bit, 0) != zero;
    changing += uuid_v7(0, 0, std::uint64_t{1} << bit) != zero;
  }
  EXPECT_EQ(changing, 74);
}

TEST(Uuid, v7_time_beyond_48_bits_does_not_touch_the_rest) {
  EXPECT_EQ(uuid_v7(std::numeric_limits<std::uint64_t>::max(), 0, 0), uuid("ffffffff-ffff-7000-8000-000000000000"));
  EXPECT_EQ(uuid_v7(0, std::numeric_limits<std::uint64_t>::max(), 0), uuid("00000000-0000-7fff-8000-000000000000"));
  EXPECT_EQ(uuid_v7(0, 0, std::numeric_limits<std::uint64_t>::max()), uuid("00000000-0000-7000-bfff-ffffffffffff"));
}

TEST(Uuid, the_namespace_can_be_derived_and_never_changes) {
  EXPECT_EQ(kSagaNamespace, uuid_v5(uuid(kUrlNamespace), "https://pgxn.org/dist/pg_saga/"));
  EXPECT_EQ(format_uuid(kSagaNamespace), "cda30a4b-f8d7-549e-985b-3adfc4cb9b0e");
}

TEST(EventId, a_uuid_stands_for_itself_in_either_case) {
  EXPECT_EQ(event_id_of("6BA7B810-9dad-11d1-80b4-00c04fd430c8"), uuid(kDnsNamespace));
  EXPECT_EQ(event_id_of(kDnsNamespace), uuid(kDnsNamespace));
}

// Answers of another implementation of RFC 9562; rows with these ids are on disk somewhere.
TEST(EventId, other_text_maps_to_uuid_v5_for_ever) {
  EXPECT_EQ(format_uuid(event_id_of("evt_create_invoice_abc123")), "2d6cf0b1-ac8f-5ad4-bbf4-e9c1755314e9");
  EXPECT_EQ(format_uuid(event_id_of("")), "6a5e7023-9af4-5141-a39d-8fd51e58d7bc");
  EXPECT_EQ(format_uuid(idempotent_event_id("orders", "invoice-1")), "843ff58c-0355-58b4-83b6-73b9a9393fb7");
}

TEST(EventId, a_uuid_in_another_form_is_a_name) {
  const Uuid id = event_id_of("{6ba7b810-9dad-11d1-80b4-00c04fd430c8}");
  EXPECT_NE(id, uuid(kDnsNamespace));
  EXPECT_TRUE(stamped(id, 5));
}

TEST(EventId, no_two_pairs_of_topic_and_key_share_an_id) {
  std::set<std::array<std::uint8_t, 16>> ids;
  int pairs = 0;
  // Every way to cut each of these texts in two, digits and separators in front included.
  for (const std::string_view text : {"1111111111", "1:1:1:1:1:", "orders/key-1"}) {
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      ids.insert(idempotent_event_id(text.substr(0, cut), text.substr(cut)).bytes);
      ++pairs;
    }
  }
  EXPECT_EQ(ids.size(), static_cast<std::size_t>(pairs));
}

TEST(EventId, an_idempotency_key_never_meets_a_named_event) {
  for (const std::string_view name : {"6orderskey", "6:orders:key", "orderskey", "6 orderskey"}) {
    EXPECT_NE(idempotent_event_id("orders", "key"), event_id_of(name));
  }
}

TEST(EventId, long_and_binary_keys_are_names_like_any_other) {
  const std::string long_key(100'000, 'k');
  EXPECT_NE(idempotent_event_id("t", long_key), idempotent_event_id("t", long_key + 'k'));
  EXPECT_NE(idempotent_event_id("t", std::string_view("a\0b", 3)), idempotent_event_id("t", "a"));
}

}  // namespace
