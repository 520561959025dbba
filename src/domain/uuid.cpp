// Text to uuid and back, and the three ways an identifier comes into being: given, named, generated. The
// namespaces and the form of the names are part of stored data and never change.
#include "domain/uuid.hpp"

#include <charconv>
#include <cstddef>
#include <span>

#include "domain/sha1.hpp"

namespace saga::domain {

// uuid v5 of "https://pgxn.org/dist/pg_saga/" in RFC 9562's URL namespace, so that anybody can derive it.
constinit const Uuid kSagaNamespace{
    {0xcd, 0xa3, 0x0a, 0x4b, 0xf8, 0xd7, 0x54, 0x9e, 0x98, 0x5b, 0x3a, 0xdf, 0xc4, 0xcb, 0x9b, 0x0e}};

namespace {

constexpr std::size_t kTextLength = 36;
constexpr std::string_view kDigits = "0123456789abcdef";
constexpr std::uint8_t kNoDigit = 0xff;

// A dash stands before the bytes 4, 6, 8 and 10.
constexpr bool dash_before(std::size_t byte) noexcept { return byte == 4 || byte == 6 || byte == 8 || byte == 10; }

constexpr std::uint8_t digit_value(char digit) noexcept {
  if (digit >= '0' && digit <= '9') return static_cast<std::uint8_t>(digit - '0');
  if (digit >= 'a' && digit <= 'f') return static_cast<std::uint8_t>(digit - 'a' + 10);
  if (digit >= 'A' && digit <= 'F') return static_cast<std::uint8_t>(digit - 'A' + 10);
  return kNoDigit;
}

// The version in the high half of byte 6 and the variant 10 in the top of byte 8 (RFC 9562 section 4).
void stamp(Uuid &id, unsigned version) noexcept {
  id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0fU) | version << 4);
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3fU) | 0x80U);
}

// The low bits of value into bytes, the most significant first.
void put_big_endian(std::span<std::uint8_t> bytes, std::uint64_t value) noexcept {
  for (std::size_t i = bytes.size(); i > 0; --i) {
    bytes[i - 1] = static_cast<std::uint8_t>(value);
    value >>= 8;
  }
}

Sha1 names_in(const Uuid &name_space) noexcept {
  Sha1 hash;
  hash.add(std::span<const std::uint8_t>(name_space.bytes));
  return hash;
}

Uuid uuid_v5_of(const Sha1 &hash) noexcept {
  const Sha1::Digest digest = hash.digest();
  Uuid id;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) id.bytes[i] = digest[i];
  stamp(id, 5);
  return id;
}

}  // namespace

std::optional<Uuid> parse_uuid(std::string_view text) noexcept {
  if (text.size() != kTextLength) return std::nullopt;
  Uuid id;
  std::size_t at = 0;
  for (std::size_t byte = 0; byte < id.bytes.size(); ++byte) {
    if (dash_before(byte) && text[at++] != '-') return std::nullopt;
    const std::uint8_t high = digit_value(text[at++]);
    const std::uint8_t low = digit_value(text[at++]);
    if (high == kNoDigit || low == kNoDigit) return std::nullopt;
    id.bytes[byte] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return id;
}

std::string format_uuid(const Uuid &id) {
  std::string text;
  text.reserve(kTextLength);
  for (std::size_t byte = 0; byte < id.bytes.size(); ++byte) {
    if (dash_before(byte)) text += '-';
    text += kDigits[id.bytes[byte] >> 4];
    text += kDigits[id.bytes[byte] & 0x0fU];
  }
  return text;
}

Uuid uuid_v5(const Uuid &name_space, std::string_view name) noexcept {
  Sha1 hash = names_in(name_space);
  hash.add(name);
  return uuid_v5_of(hash);
}

Uuid uuid_v7(std::uint64_t unix_ms, std::uint64_t random_a, std::uint64_t random_b) noexcept {
  // The low 48 bits last until the year 10889. The low 12 bits of random_a and the low 62 of random_b
  // remain; the stamp overwrites the others.
  Uuid id;
  const std::span<std::uint8_t> bytes(id.bytes);
  put_big_endian(bytes.subspan(0, 6), unix_ms);
  put_big_endian(bytes.subspan(6, 2), random_a);
  put_big_endian(bytes.subspan(8, 8), random_b);
  stamp(id, 7);
  return id;
}

Uuid event_id_of(std::string_view text) noexcept {
  if (const std::optional<Uuid> id = parse_uuid(text)) return *id;
  return uuid_v5(kSagaNamespace, text);
}

Uuid idempotent_event_id(std::string_view topic, std::string_view key) {
  // The name is the topic's length in decimal, a zero byte, topic, key. No database text holds a zero
  // byte, so no name of event_id_of() equals one of these either.
  std::array<char, 20> digits{};
  const std::to_chars_result end = std::to_chars(digits.data(), digits.data() + digits.size(), topic.size());
  Sha1 hash = names_in(kSagaNamespace);
  hash.add(std::string_view(digits.data(), static_cast<std::size_t>(end.ptr - digits.data())));
  hash.add(std::string_view("\0", 1));
  hash.add(topic);
  hash.add(key);
  return uuid_v5_of(hash);
}

}  // namespace saga::domain
