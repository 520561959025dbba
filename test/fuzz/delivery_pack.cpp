// Any bytes as a tracking row. What is accepted packs again to the same bytes; besides, any deliveries
// that the bytes can be read as survive being packed.
#include "domain/delivery_pack.hpp"

#include <algorithm>
#include <vector>

#include "input.hpp"

namespace {

using saga::domain::Delivery;
using saga::domain::DeliveryPack;
using saga::domain::unpack;
using saga::fuzz::Input;
using saga::fuzz::require;

DeliveryPack packed(const std::vector<Delivery> &deliveries) {
  DeliveryPack pack;
  for (const Delivery &delivery : deliveries) pack.add(delivery);
  return pack;
}

void check_unpacking(std::span<const std::uint8_t> bytes) {
  const auto deliveries = unpack(bytes);
  if (!deliveries) return;
  const DeliveryPack again = packed(*deliveries);
  require(std::equal(bytes.begin(), bytes.end(), again.bytes().begin(), again.bytes().end()));
  require(again.count() == deliveries->size());
}

void check_packing(Input input) {
  std::vector<Delivery> deliveries;
  while (!input.bytes().empty()) {
    // The first byte chooses the widths, so that short steps are as likely as long ones.
    const std::uint8_t widths = input.small();
    const auto position = static_cast<saga::domain::Position>(input.number(widths % 9U));
    const auto processing_us = static_cast<std::uint32_t>(input.number(widths / 9U % 5U));
    deliveries.push_back({widths >= 128 ? ~position : position, processing_us});
  }
  require(unpack(packed(deliveries).bytes()) == deliveries);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  const Input input(data, size);
  check_unpacking(input.bytes());
  check_packing(input);
  return 0;
}
