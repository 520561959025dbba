// Event identifiers. Callers may name events as they like: text that is no uuid maps to uuid v5 in our
// own namespace; generated ids are time-ordered (uuid v7, RFC 9562), so their index grows at one end.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "domain/base.hpp"

namespace saga::domain {

struct Uuid {
  std::array<std::uint8_t, 16> bytes{};
  friend bool operator==(const Uuid &, const Uuid &) = default;
};

/// The namespace of every name-based id of this product.
extern const Uuid kSagaNamespace;

/// The canonical 8-4-4-4-12 form in either case; anything else is nullopt (braces and missing dashes too).
[[nodiscard]] std::optional<Uuid> parse_uuid(std::string_view text) noexcept;

/// Lower-case canonical form.
[[nodiscard]] std::string format_uuid(const Uuid &id);

/// RFC 9562 section 5.5: SHA-1 over the namespace and the name.
[[nodiscard]] Uuid uuid_v5(const Uuid &name_space, std::string_view name) noexcept;

/// RFC 9562 section 5.7: 48 bits of Unix milliseconds, then 74 random bits out of two words.
[[nodiscard]] Uuid uuid_v7(std::uint64_t unix_ms, std::uint64_t random_a, std::uint64_t random_b) noexcept;

/// The id of an event that a caller named: the uuid itself, else uuid v5 (saga namespace, text).
[[nodiscard]] Uuid event_id_of(std::string_view text) noexcept;

/// The id that an idempotency key stands for: uuid v5 over topic and key, length-prefixed so that no two
/// pairs share a name.
[[nodiscard]] Uuid idempotent_event_id(std::string_view topic, std::string_view key);

}  // namespace saga::domain
