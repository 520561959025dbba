// The packed tracking row of one batch: which positions were delivered and how long each handler ran, in
// a few bytes per event (zigzag deltas as varints). Decoding never reads outside its input and refuses
// what encode() cannot have written.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "domain/base.hpp"

namespace saga::domain {

struct Delivery {
  Position position = 0;
  std::uint32_t processing_us = 0;
  friend bool operator==(const Delivery &, const Delivery &) = default;
};

class DeliveryPack {
 public:
  void add(const Delivery &delivery);
  [[nodiscard]] const std::vector<std::uint8_t> &bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }

 private:
  std::vector<std::uint8_t> bytes_;
  Position last_ = 0;
  std::uint32_t count_ = 0;
};

/// nullopt: the bytes are damaged.
[[nodiscard]] std::optional<std::vector<Delivery>> unpack(std::span<const std::uint8_t> bytes);

}  // namespace saga::domain
