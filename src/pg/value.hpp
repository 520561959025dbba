// Datum <-> C++: the few types that the engine's statements take and return.
#pragma once

#include "domain/snapshot.hpp"
#include "domain/uuid.hpp"
#include "pg/guard.hpp"

namespace saga::pg {

/// A parameter of a statement: type, value, null flag. Plain data; by-reference values belong to the current
/// memory context.
struct Param {
  Oid type;
  Datum value;
  bool null;
};

[[nodiscard]] Param param(bool value);
[[nodiscard]] Param param(std::int32_t value);
[[nodiscard]] Param param(std::int64_t value);
[[nodiscard]] Param param(double value);
[[nodiscard]] Param param(std::string_view value);
[[nodiscard]] Param param(const domain::Uuid &value);
[[nodiscard]] Param param(const domain::Snapshot &value);
[[nodiscard]] Param param_xid8(domain::Xid value);
[[nodiscard]] Param param_time(TimestampTz value);
[[nodiscard]] Param param_interval(const Interval &value);
[[nodiscard]] Param param_bytes(const std::vector<std::uint8_t> &value);
/// A Datum as it is; null where value is none.
[[nodiscard]] Param param_datum(Oid type, Datum value, bool null);
[[nodiscard]] Param param_jsonb(std::optional<Datum> value);
[[nodiscard]] Param param_text(const std::optional<std::string> &value);
[[nodiscard]] Param null_of(Oid type);

template <typename T>
[[nodiscard]] Param param(const std::optional<T> &value, Oid type) {
  return value ? param(*value) : null_of(type);
}

[[nodiscard]] std::string to_string(Datum text);
[[nodiscard]] domain::Uuid to_uuid(Datum value);
[[nodiscard]] domain::Snapshot to_snapshot(Datum value);
[[nodiscard]] Datum text_datum(std::string_view value);
[[nodiscard]] Datum uuid_datum(const domain::Uuid &value);

/// Milliseconds of an interval of days and less; months count as 30 days, as the server's own ordering does.
[[nodiscard]] std::int64_t interval_micros(const Interval &value) noexcept;

}  // namespace saga::pg
