#include "pg/value.hpp"

namespace saga::pg {

Param param(bool value) { return {BOOLOID, BoolGetDatum(value), false}; }
Param param(std::int32_t value) { return {INT4OID, Int32GetDatum(value), false}; }
Param param(std::int64_t value) { return {INT8OID, Int64GetDatum(value), false}; }
Param param(double value) { return {FLOAT8OID, Float8GetDatum(value), false}; }
Param param(std::string_view value) { return {TEXTOID, text_datum(value), false}; }
Param param(const domain::Uuid &value) { return {UUIDOID, uuid_datum(value), false}; }

Param param(const domain::Snapshot &value) {
  const std::string text = value.text();
  return {PG_SNAPSHOTOID, call([&] { return DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(text.c_str())); }),
          false};
}

Param param_xid8(domain::Xid value) { return {XID8OID, UInt64GetDatum(value), false}; }
Param param_time(TimestampTz value) { return {TIMESTAMPTZOID, TimestampTzGetDatum(value), false}; }

Param param_interval(const Interval &value) {
  auto *copy = call([] { return static_cast<Interval *>(palloc(sizeof(Interval))); });
  *copy = value;
  return {INTERVALOID, PointerGetDatum(copy), false};
}

Param param_bytes(const std::vector<std::uint8_t> &value) {
  const auto size = value.size() + VARHDRSZ;
  auto *bytes = call([&] { return static_cast<bytea *>(palloc(size)); });
  SET_VARSIZE(bytes, size);
  std::memcpy(VARDATA(bytes), value.data(), value.size());
  return {BYTEAOID, PointerGetDatum(bytes), false};
}

Param param_datum(Oid type, Datum value, bool null) { return {type, null ? Datum{0} : value, null}; }
Param param_jsonb(std::optional<Datum> value) { return {JSONBOID, value.value_or(Datum{0}), !value.has_value()}; }
Param param_text(const std::optional<std::string> &value) {
  return value ? param(std::string_view(*value)) : null_of(TEXTOID);
}
Param null_of(Oid type) { return {type, Datum{0}, true}; }

std::string to_string(Datum value) {
  const char *characters = call([&] { return text_to_cstring(DatumGetTextPP(value)); });
  return std::string(characters);
}

domain::Uuid to_uuid(Datum value) {
  domain::Uuid id;
  std::memcpy(id.bytes.data(), DatumGetUUIDP(value)->data, UUID_LEN);
  return id;
}

domain::Snapshot to_snapshot(Datum value) {
  const char *text = call([&] { return DatumGetCString(DirectFunctionCall1(pg_snapshot_out, value)); });
  auto snapshot = domain::Snapshot::parse(text);
  if (!snapshot) throw Error{ERRCODE_DATA_CORRUPTED, std::string("invalid snapshot \"") + text + "\""};
  return std::move(*snapshot);
}

Datum text_datum(std::string_view value) {
  return call([&] { return PointerGetDatum(cstring_to_text_with_len(value.data(), static_cast<int>(value.size()))); });
}

Datum uuid_datum(const domain::Uuid &value) {
  auto *copy = call([] { return static_cast<pg_uuid_t *>(palloc(sizeof(pg_uuid_t))); });
  std::memcpy(copy->data, value.bytes.data(), UUID_LEN);
  return UUIDPGetDatum(copy);
}

std::int64_t interval_micros(const Interval &value) noexcept {
  constexpr std::int64_t kDay = 86'400'000'000LL;
  std::int64_t days = 0;
  std::int64_t micros = 0;
  if (__builtin_mul_overflow(std::int64_t{value.month}, std::int64_t{30}, &days) ||
      __builtin_add_overflow(days, std::int64_t{value.day}, &days) || __builtin_mul_overflow(days, kDay, &micros) ||
      __builtin_add_overflow(micros, value.time, &micros)) {
    return value.month < 0 || value.day < 0 || value.time < 0 ? INT64_MIN : INT64_MAX;
  }
  return micros;
}

}  // namespace saga::pg
