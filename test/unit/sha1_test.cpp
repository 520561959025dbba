// SHA-1 against the examples published with FIPS 180 and the lengths around its block.
#include "domain/sha1.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace {

using saga::domain::Sha1;

std::string hex(const Sha1::Digest &digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15U];
  }
  return text;
}

std::string sha1(std::string_view text) {
  Sha1 hash;
  hash.add(text);
  return hex(hash.digest());
}

TEST(Sha1, gives_the_published_digests) {
  EXPECT_EQ(sha1("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(sha1(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(sha1("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopq"
                 "rstnopqrstu"),
            "a49b2446a02c645bf419f995b67091253a04a259");
  EXPECT_EQ(sha1(std::string(1'000'000, 'a')), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

// The padding takes one block or two, depending on what is left of the last one.
TEST(Sha1, padding_is_right_on_both_sides_of_a_block) {
  EXPECT_EQ(sha1(std::string(55, 'a')), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
  EXPECT_EQ(sha1(std::string(56, 'a')), "c2db330f6083854c99d4b5bfb6e8f29f201be699");
  EXPECT_EQ(sha1(std::string(57, 'a')), "f08f24908d682555111be7ff6f004e78283d989a");
  EXPECT_EQ(sha1(std::string(63, 'a')), "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
  EXPECT_EQ(sha1(std::string(64, 'a')), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
  EXPECT_EQ(sha1(std::string(65, 'a')), "11655326c708d70319be2610e8a57d9a5b959d3b");
  EXPECT_EQ(sha1(std::string(119, 'a')), "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56");
  EXPECT_EQ(sha1(std::string(120, 'a')), "f34c1488385346a55709ba056ddd08280dd4c6d6");
  EXPECT_EQ(sha1(std::string(128, 'a')), "ad5b3fdbcb526778c2839d2f151ea753995e26a0");
}

TEST(Sha1, pieces_hash_like_the_whole) {
  const std::string whole(300, 'x');
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    Sha1 hash;
    hash.add(std::string_view(whole).substr(0, cut));
    hash.add(std::string_view(whole).substr(cut));
    ASSERT_EQ(hex(hash.digest()), sha1(whole)) << cut;
  }
}

TEST(Sha1, bytes_hash_like_the_text_of_them) {
  constexpr std::array<std::uint8_t, 4> kBytes{0x00, 0x7f, 0x80, 0xff};
  Sha1 hash;
  hash.add(std::span<const std::uint8_t>(kBytes));
  EXPECT_EQ(hex(hash.digest()), sha1(std::string_view("\x00\x7f\x80\xff", 4)));
}

TEST(Sha1, asking_for_the_digest_changes_nothing) {
  Sha1 hash;
  hash.add("ab");
  EXPECT_EQ(hash.digest(), hash.digest());
  hash.add("c");
  EXPECT_EQ(hex(hash.digest()), sha1("abc"));
}

}  // namespace
