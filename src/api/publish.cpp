// publish, publish_batch, publish_text, stage, publish_row: check the arguments, fill in what the envelope and the
// current event give, append, and tell the commit what to announce.
#include "api/function.hpp"
#include "domain/slot.hpp"
#include "pg/clock.hpp"
#include "pg/identity.hpp"
#include "pg/random.hpp"
#include "pg/settings.hpp"
#include "store/current_event.hpp"
#include "store/event_log.hpp"
#include "store/idempotency.hpp"
#include "store/staging.hpp"
#include "worker/wakeup.hpp"

namespace saga::api {

namespace {

/// What one call says of one event; texts are owned here while the views of NewEvent point at them.
struct Draft {
  Datum payload = 0;
  std::optional<std::string> type;
  std::optional<std::string> key;
  std::optional<std::string> correlation_id;
  std::optional<std::string> causation_id;
  std::optional<Datum> metadata;
  std::optional<std::string> event_id;  // as given
  std::optional<std::string> idempotency_key;
  std::optional<TimestampTz> deliver_at;
};

constexpr std::size_t kTextMax = 1024;  // event types, ids, correlation ids

// ------------------------------------------------------------------------------------------------- identifiers

/// Time-ordered to the microsecond (RFC 9562 section 6.2, method 3), so that the ids of a batch ascend.
domain::Uuid generated_id(TimestampTz now) {
  const std::int64_t unix_us = now + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
  return domain::uuid_v7(static_cast<std::uint64_t>(unix_us / 1000),
                         static_cast<std::uint64_t>(unix_us % 1000) * 4096 / 1000, pg::random_bits());
}

domain::Uuid id_of(const store::Topic &topic, const Draft &draft) {
  if (draft.event_id) return domain::event_id_of(*draft.event_id);
  if (draft.idempotency_key) return domain::idempotent_event_id(topic.name, *draft.idempotency_key);
  return generated_id(GetCurrentTimestamp());
}

domain::Uuid fingerprint(const store::Topic &topic, const Draft &draft) {
  std::string text = topic.name;
  text.push_back('\0');
  text.append(draft.key.value_or("")).push_back('\0');
  text.append(draft.type.value_or("")).push_back('\0');
  const auto *payload = pg::call([&] { return PG_DETOAST_DATUM_PACKED(draft.payload); });
  text.append(VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload));
  return domain::uuid_v5(domain::kSagaNamespace, text);
}

// ------------------------------------------------------------------------------------------------- limits

[[noreturn]] void too_large(const char *what, std::size_t size, std::size_t limit, const char *setting) {
  throw pg::Error{ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                  std::string(what) + " has " + std::to_string(size) + " bytes, the limit is " + std::to_string(limit),
                  {},
                  std::string("Publish a reference to larger data, or raise ") + setting + "."};
}

void check_texts(const Draft &draft) {
  const auto key_limit = static_cast<std::size_t>(pg::settings::max_key_length);
  if (draft.key && draft.key->size() > key_limit) too_large("key", draft.key->size(), key_limit, "saga.max_key_length");
  for (const auto *text :
       {&draft.type, &draft.correlation_id, &draft.causation_id, &draft.event_id, &draft.idempotency_key}) {
    if (!*text || (*text)->size() <= kTextMax) continue;
    throw pg::Error{
        ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        "event type or id has " + std::to_string((*text)->size()) + " bytes, the limit is " + std::to_string(kTextMax),
        {},
        "Use a shorter one."};
  }
  if (draft.deliver_at && TIMESTAMP_NOT_FINITE(*draft.deliver_at)) {
    throw pg::Error{
        ERRCODE_INVALID_PARAMETER_VALUE, "deliver_at must be finite", {}, "Pass a time, or NULL to deliver at once."};
  }
}

void check_limits(const Draft &draft) {
  check_texts(draft);
  const std::size_t size = pg::call([&] { return toast_raw_datum_size(draft.payload); });
  const auto payload_limit = static_cast<std::size_t>(pg::settings::max_payload_kb) * 1024;
  if (size > payload_limit) too_large("payload", size, payload_limit, "saga.max_payload_size");
}

void count_events(std::size_t events) {
  static LocalTransactionId transaction = InvalidLocalTransactionId;
  static std::size_t published = 0;
  if (transaction != MyProc->lxid) {
    transaction = MyProc->lxid;
    published = 0;
  }
  published += events;
  const auto limit = static_cast<std::size_t>(pg::settings::max_events_per_transaction);
  if (published <= limit) return;
  throw pg::Error{ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
                  "transaction publishes more than " + std::to_string(limit) + " events",
                  {},
                  "Publish in several transactions, or raise saga.max_events_per_transaction."};
}

// ------------------------------------------------------------------------------------------------- filling in

std::optional<std::string> member(Datum payload, const char *name) {
  const char *found = pg::call([&]() -> char * {
    Jsonb *document = DatumGetJsonbP(payload);
    if (!JB_ROOT_IS_OBJECT(document)) return nullptr;
    JsonbValue buffer;
    const JsonbValue *value =
        getKeyJsonValueFromContainer(&document->root, name, static_cast<int>(std::strlen(name)), &buffer);
    if (value == nullptr || value->type != jbvString) return nullptr;
    return pnstrdup(value->val.string.val, static_cast<Size>(value->val.string.len));
  });
  if (found == nullptr) return std::nullopt;
  return std::string(found);
}

/// Arguments left NULL come from the payload (seed 003); an argument always wins.
void fill_from_envelope(Draft &draft) {
  if (!draft.event_id && !draft.idempotency_key) draft.event_id = member(draft.payload, "eventId");
  if (!draft.type) draft.type = member(draft.payload, "eventType");
  if (!draft.correlation_id) draft.correlation_id = member(draft.payload, "correlationId");
  if (!draft.causation_id) draft.causation_id = member(draft.payload, "causationId");
}

/// What a handler publishes continues the story of its event.
std::int16_t inherit(Draft &draft) {
  const store::CurrentEvent *current = store::current_event();
  if (current == nullptr) return 0;
  const int depth = current->depth + 1;
  if (depth > pg::settings::max_causation_depth) {
    throw pg::Error{
        ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        "chain of events that cause each other is longer than " + std::to_string(pg::settings::max_causation_depth),
        "A handler that publishes to its own topic never ends.", "Break the loop, or raise saga.max_causation_depth."};
  }
  if (!draft.correlation_id) draft.correlation_id = store::event_text(current->event, 6);
  if (!draft.causation_id) {
    draft.causation_id =
        current->external_id ? std::string(*current->external_id) : store::event_id_text(current->event);
  }
  return static_cast<std::int16_t>(depth);
}

std::optional<std::string_view> view(const std::optional<std::string> &text) {
  if (!text) return std::nullopt;
  return std::string_view(*text);
}

std::string_view service_name() {
  if (pg::settings::service_name != nullptr && pg::settings::service_name[0] != '\0') return pg::settings::service_name;
  return application_name == nullptr ? "" : application_name;
}

bool is_empty_object(Datum document) {
  return pg::call([&] {
    const Jsonb *value = DatumGetJsonbP(document);
    return JB_ROOT_IS_OBJECT(value) && JB_ROOT_COUNT(value) == 0;
  });
}

store::NewEvent to_event(const Draft &draft, const domain::Uuid &id, std::int16_t depth) {
  store::NewEvent event;
  event.id = id;
  if (draft.event_id && !domain::parse_uuid(*draft.event_id)) event.external_id = *draft.event_id;
  event.key = view(draft.key);
  event.type = view(draft.type);
  event.payload = draft.payload;
  event.correlation_id = view(draft.correlation_id);
  event.causation_id = view(draft.causation_id);
  event.service_name = service_name();
  if (draft.metadata && !is_empty_object(*draft.metadata)) event.metadata = draft.metadata;
  event.deliver_at = draft.deliver_at;
  event.slot = store::slot_of_event(id, event.key);
  event.depth = depth;
  return event;
}

/// False: this very event was published before.
bool is_new(const store::Topic &topic, const Draft &draft, const store::NewEvent &event) {
  if (!draft.event_id && !draft.idempotency_key) return true;
  using Kind = store::GivenId::Kind;
  const bool by_key = draft.idempotency_key.has_value();
  return store::remember_id(topic, GetUserId(),
                            {by_key ? Kind::Key : Kind::EventId, by_key ? *draft.idempotency_key : *draft.event_id,
                             event.id, fingerprint(topic, draft)});
}

/// The topic, checked for the caller; a copy, since a later look may replace the cache.
store::Topic topic_to_publish(const std::string &name) {
  (void)worker::shared_state();
  require_writable("publish");
  store::Topic topic = store::topic(name);
  store::require_right(topic, store::Right::Publish);
  if (store::installation().is_copy) {
    throw pg::Error{pg::kPaused, "this database is a copy of another one and has not been resumed",
                    "Its log counts transactions of the original.",
                    "Run saga.resume_all() if it shall be used in its own right."};
  }
  return topic;
}

std::vector<domain::Uuid> publish_all(const store::Topic &topic, std::vector<Draft> &drafts) {
  count_events(drafts.size());
  std::vector<domain::Uuid> ids;
  std::vector<store::NewEvent> events;
  ids.reserve(drafts.size());
  events.reserve(drafts.size());
  for (Draft &draft : drafts) {
    if (topic.envelope) fill_from_envelope(draft);
    check_limits(draft);
    const std::int16_t depth = inherit(draft);
    store::NewEvent event = to_event(draft, id_of(topic, draft), depth);
    ids.push_back(event.id);
    if (is_new(topic, draft, event)) events.push_back(std::move(event));
  }
  if (events.empty()) return ids;
  for (const std::int16_t partition : store::append(topic.name, events)) worker::mark_published(topic.id, partition);
  return ids;
}

// ------------------------------------------------------------------------------------------------- batches

/// One array argument of publish_batch, element by element.
class Column {
 public:
  Column(const Args &args, int i, const char *name, Oid type, std::size_t expected) {
    const auto array = args.optional_datum(i);
    if (!array) return;
    int count = 0;
    pg::call([&] {
      std::int16_t length = 0;
      bool by_value = false;
      char alignment = 0;
      get_typlenbyvalalign(type, &length, &by_value, &alignment);
      deconstruct_array(DatumGetArrayTypeP(*array), type, length, by_value, alignment, &values_, &nulls_, &count);
    });
    present_ = true;
    count_ = static_cast<std::size_t>(count);
    if (expected == SIZE_MAX || count_ == expected) return;
    throw pg::Error{ERRCODE_ARRAY_SUBSCRIPT_ERROR,
                    std::string("array \"") + name + "\" has " + std::to_string(count) + " elements, payloads has " +
                        std::to_string(expected),
                    {},
                    std::string("Pass one element per payload, or leave ") + name + " out."};
  }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::optional<Datum> datum(std::size_t i) const {
    if (!present_ || nulls_[i]) return std::nullopt;
    return values_[i];
  }
  [[nodiscard]] std::optional<std::string> text(std::size_t i) const {
    const auto value = datum(i);
    if (!value) return std::nullopt;
    return pg::to_string(*value);
  }

 private:
  Datum *values_ = nullptr;
  bool *nulls_ = nullptr;
  bool present_ = false;
  std::size_t count_ = 0;
};

void refuse_duplicates(const std::vector<Draft> &drafts) {
  std::vector<std::string_view> ids;
  for (const Draft &draft : drafts) {
    if (draft.event_id) ids.emplace_back(*draft.event_id);
  }
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice == ids.end()) return;
  throw pg::Error{pg::kIdConflict,
                  "event id " + pg::quoted(*twice) + " appears twice in the batch",
                  {},
                  "Give every event of a batch an id of its own, or none."};
}

Datum uuid_array(const std::vector<domain::Uuid> &ids) {
  std::vector<Datum> values;
  values.reserve(ids.size());
  for (const domain::Uuid &id : ids) values.push_back(pg::uuid_datum(id));
  const int count = static_cast<int>(values.size());
  return pg::call(
      [&] { return PointerGetDatum(construct_array(values.data(), count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)); });
}

Draft draft_of(const Args &args, Datum payload) {
  Draft draft;
  draft.payload = payload;
  draft.type = args.optional_text(2);
  draft.key = args.optional_text(3);
  draft.correlation_id = args.optional_text(4);
  draft.causation_id = args.optional_text(5);
  draft.metadata = args.optional_datum(6);
  draft.event_id = args.optional_text(7);
  draft.idempotency_key = args.optional_text(8);
  if (const auto at = args.optional_datum(9)) draft.deliver_at = DatumGetTimestampTz(*at);
  if (draft.event_id && draft.idempotency_key) {
    throw pg::Error{pg::kInvalidOption,
                    "event_id and idempotency_key exclude each other",
                    {},
                    "Pass the one by which a repeat shall be recognised."};
  }
  return draft;
}

domain::Uuid publish_one(const store::Topic &topic, Draft draft) {
  std::vector<Draft> drafts;
  drafts.push_back(std::move(draft));
  return publish_all(topic, drafts).front();
}

}  // namespace

SAGA_FUNCTION(saga_publish) {
  const Args args{fcinfo};
  const store::Topic topic = topic_to_publish(args.text(0, "topic"));
  return pg::uuid_datum(publish_one(topic, draft_of(args, args.datum(1, "payload"))));
}

SAGA_FUNCTION(saga_publish_batch) {
  const Args args{fcinfo};
  const store::Topic topic = topic_to_publish(args.text(0, "topic"));
  (void)args.datum(1, "payloads");
  const Column payloads{args, 1, "payloads", JSONBOID, SIZE_MAX};
  const std::size_t count = payloads.count();
  const Column types{args, 2, "event_types", TEXTOID, count};
  const Column keys{args, 3, "keys", TEXTOID, count};
  const Column correlations{args, 4, "correlation_ids", TEXTOID, count};
  const Column causations{args, 5, "causation_ids", TEXTOID, count};
  const Column metadata{args, 6, "metadata", JSONBOID, count};
  const Column event_ids{args, 7, "event_ids", TEXTOID, count};
  std::vector<Draft> drafts(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto payload = payloads.datum(i);
    if (!payload) {
      throw pg::Error{ERRCODE_NULL_VALUE_NOT_ALLOWED,
                      "payload " + std::to_string(i + 1) + " of the batch is NULL",
                      {},
                      "Pass a JSON document for every event; 'null'::jsonb is one."};
    }
    drafts[i].payload = *payload;
    drafts[i].type = types.text(i);
    drafts[i].key = keys.text(i);
    drafts[i].correlation_id = correlations.text(i);
    drafts[i].causation_id = causations.text(i);
    drafts[i].metadata = metadata.datum(i);
    drafts[i].event_id = event_ids.text(i);
    if (const auto at = args.optional_datum(8)) drafts[i].deliver_at = DatumGetTimestampTz(*at);
  }
  refuse_duplicates(drafts);
  return uuid_array(publish_all(topic, drafts));
}

SAGA_FUNCTION(saga_publish_text) {
  const Args args{fcinfo};
  const store::Topic topic = topic_to_publish(args.text(0, "topic"));
  const std::string text = args.text(1, "payload");
  const auto limit = static_cast<std::size_t>(pg::settings::max_payload_kb) * 1024;
  if (text.size() > limit) too_large("payload", text.size(), limit, "saga.max_payload_size");
  const store::JsonText parsed = store::parse_json(text);
  if (parsed.document) return pg::uuid_datum(publish_one(topic, draft_of(args, *parsed.document)));
  if (topic.reject_invalid) {
    throw pg::Error{pg::kRejected, "payload is not JSON", parsed.error,
                    "Publish valid JSON; topic " + pg::quoted(topic.name) + " rejects what is not (on_invalid)."};
  }
  Draft draft = draft_of(args, Datum{0});
  check_texts(draft);
  const domain::Uuid id = id_of(topic, draft);
  store::InvalidEvent invalid;
  invalid.id = id;
  invalid.external_id = draft.event_id && !domain::parse_uuid(*draft.event_id) ? draft.event_id : std::nullopt;
  invalid.key = draft.key;
  invalid.type = draft.type;
  invalid.raw_text = text;
  invalid.error = parsed.error;
  invalid.slot = store::slot_of_event(id, view(draft.key));
  store::append_invalid(topic, invalid, generated_id(GetCurrentTimestamp()));
  return pg::uuid_datum(id);
}

SAGA_FUNCTION(saga_stage) {
  const Args args{fcinfo};
  const std::string given = args.text(0, "event_id");
  const store::Topic topic = topic_to_publish(args.text(1, "topic"));
  Draft draft;
  draft.event_id = given;
  draft.payload = args.datum(2, "payload");
  draft.type = args.optional_text(3);
  draft.key = args.optional_text(4);
  draft.metadata = args.optional_datum(5);
  check_limits(draft);
  const store::NewEvent event = to_event(draft, id_of(topic, draft), 0);
  store::stage(topic, GetUserId(), event, given);
  return pg::uuid_datum(event.id);
}

SAGA_FUNCTION(saga_publish_row) {
  if (!CALLED_AS_TRIGGER(fcinfo)) {
    throw pg::Error{ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                    "publish_row() is a trigger function",
                    {},
                    "CREATE TRIGGER ... AFTER INSERT OR UPDATE OR DELETE ON table FOR EACH ROW EXECUTE FUNCTION "
                    "saga.publish_row('topic', 'key column')."};
  }
  auto *data = reinterpret_cast<TriggerData *>(fcinfo->context);
  const Trigger *trigger = data->tg_trigger;
  if (!TRIGGER_FIRED_AFTER(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) || trigger->tgnargs < 1) {
    throw pg::Error{ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                    "publish_row() needs AFTER ... FOR EACH ROW and a topic",
                    {},
                    "EXECUTE FUNCTION saga.publish_row('topic', 'key column')."};
  }
  const store::Topic topic = topic_to_publish(trigger->tgargs[0]);
  const bool deleted = TRIGGER_FIRED_BY_DELETE(data->tg_event);
  const bool updated = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
  HeapTuple row = updated ? data->tg_newtuple : data->tg_trigtuple;
  TupleDesc shape = data->tg_relation->rd_att;
  Draft draft;
  draft.payload = pg::call([&] {
    const Datum composite = heap_copy_tuple_as_datum(row, shape);
    return DirectFunctionCall1(jsonb_in,
                               CStringGetDatum(TextDatumGetCString(OidFunctionCall1(F_ROW_TO_JSON_RECORD, composite))));
  });
  const std::string table = RelationGetRelationName(data->tg_relation);
  draft.type = table + (deleted ? ".deleted" : updated ? ".updated" : ".inserted");
  if (trigger->tgnargs > 1) {
    const char *column = trigger->tgargs[1];
    const int number = pg::call([&] { return SPI_fnumber(shape, column); });
    if (number == SPI_ERROR_NOATTRIBUTE) {
      throw pg::Error{ERRCODE_UNDEFINED_COLUMN,
                      "table " + pg::quoted(table) + " has no column " + pg::quoted(column),
                      {},
                      "Name the column that holds the key as second argument of saga.publish_row."};
    }
    const char *key = pg::call([&] { return SPI_getvalue(row, shape, number); });
    if (key != nullptr) draft.key = key;
  }
  (void)publish_one(topic, std::move(draft));
  return PointerGetDatum(nullptr);
}

}  // namespace saga::api
