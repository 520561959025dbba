// The bytes of a tracking row. Each delivery is two varints (seven bits a byte, least significant first,
// high bit = more follows): the zigzag of the position's distance from the previous one, starting at 0,
// then the microseconds. Every value has exactly one encoding, so what unpack() accepts packs again to the
// same bytes.
#include "domain/delivery_pack.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace saga::domain {

namespace {

constexpr std::uint8_t kMoreFollows = 0x80;
constexpr std::uint8_t kPayloadBits = 0x7f;
constexpr unsigned kLastShift = 63;  // the tenth byte of a varint holds one bit

// Distances wrap in 64 bits, so that any two positions have one.
constexpr std::uint64_t zigzag_between(Position from, Position to) noexcept {
  const std::uint64_t distance = static_cast<std::uint64_t>(to) - static_cast<std::uint64_t>(from);
  return (distance << 1) ^ (0 - (distance >> 63));
}

constexpr Position moved_by(Position from, std::uint64_t zigzag) noexcept {
  const std::uint64_t distance = (zigzag >> 1) ^ (0 - (zigzag & 1));
  return static_cast<Position>(static_cast<std::uint64_t>(from) + distance);
}

static_assert(zigzag_between(5, 6) == 2 && zigzag_between(6, 5) == 1 && zigzag_between(7, 7) == 0);
static_assert(moved_by(5, zigzag_between(5, std::numeric_limits<Position>::min())) ==
              std::numeric_limits<Position>::min());

void put_varint(std::vector<std::uint8_t> &bytes, std::uint64_t value) {
  for (; value > kPayloadBits; value >>= 7) bytes.push_back(static_cast<std::uint8_t>(value | kMoreFollows));
  bytes.push_back(static_cast<std::uint8_t>(value));
}

// nullopt: the input ends too early, or the varint is longer than its value needs or than 64 bits.
std::optional<std::uint64_t> take_varint(std::span<const std::uint8_t> &bytes) noexcept {
  std::uint64_t value = 0;
  for (unsigned shift = 0; !bytes.empty(); shift += 7) {
    const std::uint8_t byte = bytes.front();
    bytes = bytes.subspan(1);
    if (shift == kLastShift && byte > 1) return std::nullopt;
    value |= static_cast<std::uint64_t>(byte & kPayloadBits) << shift;
    if (byte >= kMoreFollows) continue;
    if (byte == 0 && shift > 0) return std::nullopt;
    return value;
  }
  return std::nullopt;
}

std::optional<Delivery> take_delivery(std::span<const std::uint8_t> &bytes, Position last) noexcept {
  const std::optional<std::uint64_t> zigzag = take_varint(bytes);
  if (!zigzag) return std::nullopt;
  const std::optional<std::uint64_t> processing_us = take_varint(bytes);
  if (!processing_us || *processing_us > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return Delivery{moved_by(last, *zigzag), static_cast<std::uint32_t>(*processing_us)};
}

}  // namespace

void DeliveryPack::add(const Delivery &delivery) {
  put_varint(bytes_, zigzag_between(last_, delivery.position));
  put_varint(bytes_, delivery.processing_us);
  last_ = delivery.position;
  ++count_;
}

std::optional<std::vector<Delivery>> unpack(std::span<const std::uint8_t> bytes) {
  // Each varint ends in one byte without the high bit, and two make a delivery: the exact number to reserve.
  const auto ends = std::count_if(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte < kMoreFollows; });
  std::vector<Delivery> deliveries;
  deliveries.reserve(static_cast<std::size_t>(ends) / 2);
  Position last = 0;
  while (!bytes.empty()) {
    const std::optional<Delivery> delivery = take_delivery(bytes, last);
    if (!delivery) return std::nullopt;
    deliveries.push_back(*delivery);
    last = delivery->position;
  }
  return deliveries;
}

}  // namespace saga::domain
