#include "store/current_event.hpp"

#include "pg/value.hpp"

namespace saga::store {

namespace {
const CurrentEvent *current = nullptr;
}

const CurrentEvent *current_event() noexcept { return current; }

CurrentEventScope::CurrentEventScope(const CurrentEvent &event) noexcept { current = &event; }
CurrentEventScope::~CurrentEventScope() { current = nullptr; }

std::optional<std::string> event_text(Datum event, int attribute) {
  bool null = false;
  const Datum value = pg::call(
      [&] { return GetAttributeByNum(DatumGetHeapTupleHeader(event), static_cast<AttrNumber>(attribute), &null); });
  if (null) return std::nullopt;
  return pg::to_string(value);
}

std::string event_id_text(Datum event) {
  bool null = false;
  const Datum id = pg::call([&] { return GetAttributeByNum(DatumGetHeapTupleHeader(event), 1, &null); });
  return domain::format_uuid(pg::to_uuid(id));
}

}  // namespace saga::store
