// What became of events: delivery_of, activity, event_status, is_processed, trace. The caller sees what concerns
// topics on which it has a right; an event of another topic does not exist for it.
#include <algorithm>

#include "api/events.hpp"
#include "api/function.hpp"
#include "pg/compat.hpp"
#include "pg/identity.hpp"
#include "store/deliveries.hpp"
#include "worker/activity.hpp"

namespace saga::api {

namespace {

constexpr std::array<const char *, 4> kStates{"free", "starting", "idle", "busy"};

bool sees_everything(Oid role) {
  return role == pg::extension_owner() || pg::call([&] { return superuser_arg(role); });
}

pg::Param optional_time(const std::optional<TimestampTz> &time) {
  return time ? pg::param_time(*time) : pg::null_of(TIMESTAMPTZOID);
}

}  // namespace

ReadableEvent readable_event(const std::string &given) {
  const Oid caller = GetUserId();
  ReadableEvent found;
  found.id = domain::event_id_of(given);
  std::optional<store::KnownEvent> known;
  {
    pg::OwnerScope owner;
    pg::Spi spi;
    known = store::find_event(found.id);
  }
  const auto readable = store::readable_topics(caller);
  if (!known || std::find(readable.begin(), readable.end(), known->topic_id) == readable.end()) {
    throw pg::Error{pg::kUnknownEvent,
                    "event " + pg::quoted(given) + " does not exist",
                    {},
                    "See saga.event_production_log; events are kept for their topic's retention."};
  }
  found.known = *known;
  return found;
}

SAGA_FUNCTION(saga_delivery_of) {
  const Args args{fcinfo};
  store::LanePlace place;
  place.lane = {args.i32(0, "subscription_id"), static_cast<std::int16_t>(args.i32(1, "partition_number"))};
  place.era = args.i32(2, "era");
  place.xid = DatumGetUInt64(args.datum(3, "xid"));
  place.position = DatumGetInt64(args.datum(4, "position"));
  const auto found = store::find_delivery(place);
  // The shape of the result is looked up once per call site.
  return pg::call([&] {
    auto *shape = static_cast<TupleDesc>(fcinfo->flinfo->fn_extra);
    if (shape == nullptr) {
      const MemoryContext before = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
      (void)get_call_result_type(fcinfo, nullptr, &shape);
      shape = BlessTupleDesc(shape);
      fcinfo->flinfo->fn_extra = shape;
      MemoryContextSwitchTo(before);
    }
    std::array<Datum, 5> values{};
    std::array<bool, 5> nulls{true, true, true, true, true};
    if (found) {
      values = {Int32GetDatum(found->generation), Int64GetDatum(found->number), TimestampTzGetDatum(found->finished_at),
                Int64GetDatum(static_cast<std::int64_t>(found->processing_us)), found->result.value_or(Datum{0})};
      nulls = {false, false, false, false, !found->result.has_value()};
    }
    return HeapTupleGetDatum(heap_form_tuple(shape, values.data(), nulls.data()));
  });
}

SAGA_FUNCTION(saga_activity) {
  const Oid caller = GetUserId();
  RowSet rows{fcinfo};
  for (const worker::Activity &one : worker::activity()) {
    const bool visible = pg::call(
        [&] { return has_privs_of_role(caller, one.role) || has_privs_of_role(caller, ROLE_PG_READ_ALL_STATS); });
    if (!visible) continue;
    const auto role = pg::role_name(one.role);
    const char *state = one.running ? "running" : kStates[static_cast<std::size_t>(one.state)];
    rows.add({pg::param(std::int32_t{one.pid}), pg::param_text(role),
              one.running ? pg::param(one.subscription_id) : pg::null_of(INT4OID),
              one.running ? pg::param(std::int32_t{one.partition}) : pg::null_of(INT4OID),
              one.running ? pg::param(one.event_id) : pg::null_of(UUIDOID),
              one.running ? pg::param(one.attempt) : pg::null_of(INT4OID),
              one.running ? pg::param_time(one.started_at) : pg::null_of(TIMESTAMPTZOID),
              pg::param(std::string_view(state))});
  }
  return null_result(fcinfo);
}

SAGA_FUNCTION(saga_running_events) {
  const Oid caller = GetUserId();
  RowSet rows{fcinfo};
  const std::vector<worker::Activity> all = worker::activity();
  if (std::none_of(all.begin(), all.end(), [](const worker::Activity &a) { return a.running; }))
    return null_result(fcinfo);
  const bool everything = sees_everything(caller);
  const std::vector<int> readable = everything ? std::vector<int>{} : store::readable_topics(caller);
  for (const worker::Activity &one : all) {
    if (!one.running) continue;
    if (!everything && std::find(readable.begin(), readable.end(), one.topic_id) == readable.end()) continue;
    rows.add({pg::param(one.subscription_id), pg::param(one.event_id), pg::param_time(one.started_at)});
  }
  return null_result(fcinfo);
}

SAGA_FUNCTION(saga_event_status) {
  const Args args{fcinfo};
  const ReadableEvent event = readable_event(args.text(0, "event_id"));
  RowSet rows{fcinfo};
  pg::OwnerScope owner;
  pg::Spi spi;
  for (const store::GroupState &state : store::states_of(event.id, std::nullopt)) {
    rows.add({pg::param(std::string_view(state.consumer_group)), pg::param(std::string_view(state.status)),
              pg::param(state.attempts), pg::param(state.max_attempts), pg::param_text(state.waiting_for),
              optional_time(state.due_at), optional_time(state.processed_at), pg::param(state.processing_ms, FLOAT8OID),
              pg::param_text(state.error_message), pg::param_jsonb(state.result)});
  }
  return null_result(fcinfo);
}

SAGA_FUNCTION(saga_is_processed) {
  const Args args{fcinfo};
  const ReadableEvent event = readable_event(args.text(0, "event_id"));
  const std::string group = args.text(1, "consumer_group");
  const store::Topic *topic = store::topic_by_id(event.known.topic_id);
  if (topic != nullptr) (void)store::subscription(*topic, group);  // throws when there is no such group
  pg::OwnerScope owner;
  pg::Spi spi;
  const auto states = store::states_of(event.id, group);
  return BoolGetDatum(!states.empty() && states.front().status == "PROCESSED");
}

SAGA_FUNCTION(saga_trace) {
  const Args args{fcinfo};
  const std::string given = args.text(0, "correlation_id");
  const auto readable = store::readable_topics(GetUserId());
  RowSet out{fcinfo};
  bool any = false;
  {
    pg::OwnerScope owner;
    pg::Spi spi;
    const pg::Rows rows = store::trace(given);
    constexpr int kColumns = 15;
    constexpr std::array<Oid, kColumns> kTypes{UUIDOID,        TEXTOID,        TEXTOID,   TEXTOID, TEXTOID,
                                               TEXTOID,        TEXTOID,        INT4OID,   TEXTOID, INT8OID,
                                               TIMESTAMPTZOID, TIMESTAMPTZOID, FLOAT8OID, TEXTOID, INT4OID};
    for (std::uint64_t i = 0; i < rows.size(); ++i) {
      if (std::find(readable.begin(), readable.end(), rows[i].i32(kColumns + 1)) == readable.end()) continue;
      any = true;
      std::vector<pg::Param> columns;
      for (int c = 1; c <= kColumns; ++c) {
        const auto value = rows[i].optional_datum(c);
        columns.push_back(pg::param_datum(kTypes[static_cast<std::size_t>(c - 1)], value.value_or(Datum{0}), !value));
      }
      out.add({columns[0], columns[1], columns[2], columns[3], columns[4], columns[5], columns[6], columns[7],
               columns[8], columns[9], columns[10], columns[11], columns[12], columns[13], columns[14]});
    }
  }
  if (any) return null_result(fcinfo);
  throw pg::Error{pg::kUnknownEvent,
                  "no event has the correlation id " + pg::quoted(given),
                  {},
                  "See the column correlation_id of saga.event_production_log."};
}

}  // namespace saga::api
