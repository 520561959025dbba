// Seeded random input for the property tests. The seeds are constants, so a failure repeats; the values
// lean towards the edges of their range, where the mistakes are.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>

namespace saga::test {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t word() { return engine_(); }

  /// 0 .. bound - 1. The slight bias of the remainder does not matter here.
  std::uint64_t below(std::uint64_t bound) { return engine_() % bound; }

  /// 0 <= share < 1.
  double share() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }

  /// Any width of number with equal probability, and now and then an extreme.
  std::uint64_t number() {
    constexpr std::array<std::uint64_t, 4> kEdges{0, 1, std::numeric_limits<std::uint64_t>::max(),
                                                  std::uint64_t{1} << 63};
    if (below(8) == 0) return kEdges.at(below(kEdges.size()));
    return engine_() >> below(64);
  }

  std::uint16_t count() { return static_cast<std::uint16_t>(number()); }
  std::int64_t integer() { return static_cast<std::int64_t>(number()); }

  std::string text(std::size_t length_max) {
    std::string text(below(length_max + 1), '\0');
    for (char &character : text) character = static_cast<char>(engine_());
    return text;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace saga::test
