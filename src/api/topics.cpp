// create_topic, alter_topic, drop_topic, grant_topic, revoke_topic, readable_topics: check the arguments and the
// caller's rights, change the rows, tell the commit.
#include "store/topics.hpp"
#include "api/options.hpp"
#include "domain/slot.hpp"
#include "pg/identity.hpp"
#include "pg/notice.hpp"
#include "store/audit.hpp"
#include "store/handlers.hpp"
#include "store/installation.hpp"
#include "store/topic_settings.hpp"
#include "worker/wakeup.hpp"

namespace saga::api {

namespace {

constexpr std::array kOnInvalid{"record", "reject"};
constexpr IntervalRange kRetention{kHourUs, "1 hour", 36'600 * kDayUs, "100 years"};

store::NewTopic checked_topic(const std::string &name, const std::string &on_invalid, const Args &args) {
  store::NewTopic topic;
  topic.name = name;
  topic.partitions = args.i32(1, "partitions");
  topic.retention = args.interval(2, "retention");
  topic.on_invalid = on_invalid;
  topic.envelope = args.boolean(4, "envelope");
  check_name("topic", name);
  if (!domain::valid_partition_count(topic.partitions)) {
    invalid_option("invalid partitions " + std::to_string(topic.partitions),
                   "Pass a power of two up to 1024. It cannot be changed later: to move, create another topic, "
                   "subscribe its groups and let the producers publish there.");
  }
  check_range("retention", topic.retention, kRetention);
  check_choice("on_invalid", on_invalid, kOnInvalid);
  return topic;
}

/// A copy: the cache behind topic() changes with every change.
store::Topic operated_topic(const std::string &name) {
  const store::Topic topic = store::topic(name);
  store::require_right(topic, store::Right::Operate);
  return topic;
}

// ------------------------------------------------------------------------------------------------- rights

store::Rights rights_of(Datum array) {
  Datum *elements = nullptr;
  bool *nulls = nullptr;
  int count = 0;
  pg::call([&] {
    deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
  });
  constexpr std::array kRights{"publish", "subscribe", "operate"};
  store::Rights rights;
  for (int i = 0; i < count; ++i) {
    const std::string right = nulls[i] ? "NULL" : pg::to_string(elements[i]);
    check_choice("right", right, kRights);
    rights.publish = rights.publish || right == kRights[0];
    rights.subscribe = rights.subscribe || right == kRights[1];
    rights.operate = rights.operate || right == kRights[2];
  }
  if (count == 0) invalid_option("rights must not be empty", "Valid values are 'publish', 'subscribe', 'operate'.");
  return rights;
}

/// 0: all topics, which only the owner of the extension and superusers may grant.
int topic_to_grant(const std::optional<std::string> &name) {
  if (name) return operated_topic(*name).id;
  const Oid user = GetUserId();
  const Oid owner = pg::extension_owner();
  if (pg::call([&] { return superuser_arg(user) || has_privs_of_role(user, owner); })) return 0;
  throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE, "permission denied to change the rights on all topics",
                  "Only superusers and the owner of the extension may do that.", "Name one topic."};
}

using ChangeRights = void (*)(int, Oid, std::string_view, const store::Rights &);

void change_rights(const Args &args, const char *action, ChangeRights change) {
  begin_change("change the rights on a topic");
  const auto topic_name = args.optional_text(0);
  const store::Role role = store::role_by_name(args.text(1, "role_name"));
  const store::Rights rights = rights_of(args.datum(2, "rights"));
  const int topic = topic_to_grant(topic_name);
  const std::string actor = current_user_name();
  pg::OwnerScope owner;
  pg::Spi spi;
  const auto before = store::rights_row(topic, role.oid);
  change(topic, role.oid, role.name, rights);
  store::append_audit(actor, {action, topic_name.value_or("*") + "/" + role.name, std::nullopt, before,
                              store::rights_row(topic, role.oid)});
  worker::mark_config_changed();
}

}  // namespace

SAGA_FUNCTION(saga_create_topic) {
  const Args args{fcinfo};
  begin_change("create a topic");
  const std::string name = args.text(0, "topic");
  const std::string on_invalid = args.text(3, "on_invalid");
  store::NewTopic topic = checked_topic(name, on_invalid, args);
  const bool if_not_exists = args.boolean(5, "if_not_exists");
  const store::Role creator = store::current_role();
  topic.owner = creator.oid;
  topic.owner_name = creator.name;
  pg::OwnerScope owner;
  pg::Spi spi;
  store::claim_installation();
  if (store::insert_topic(topic)) {
    const std::string row = store::topic_row(store::topic(name).id);
    store::append_audit(creator.name, {"create_topic", name, std::nullopt, std::nullopt, row});
    worker::mark_config_changed();
  } else if (if_not_exists) {
    pg::notice("topic " + pg::quoted(name) + " already exists, skipping", {});
  } else {
    throw pg::Error{pg::kAlreadyExists,
                    "topic " + pg::quoted(name) + " already exists",
                    {},
                    "Change it with saga.alter_topic(), or pass if_not_exists => true."};
  }
  return Datum{0};
}

SAGA_FUNCTION(saga_alter_topic) {
  const Args args{fcinfo};
  begin_change("alter a topic");
  const std::string name = args.text(0, "topic");
  std::optional<Interval> retention;
  if (!args.is_null(1)) retention = args.interval(1, "retention");
  const auto on_invalid = args.optional_text(2);
  const store::Topic topic = operated_topic(name);
  if (retention) check_range("retention", *retention, kRetention);
  if (on_invalid) check_choice("on_invalid", *on_invalid, kOnInvalid);
  const std::string actor = current_user_name();
  pg::OwnerScope owner;
  pg::Spi spi;
  store::require_identity();
  const std::string before = store::topic_row(topic.id);
  store::update_topic(topic.id, retention, on_invalid);
  store::append_audit(actor, {"alter_topic", name, std::nullopt, before, store::topic_row(topic.id)});
  worker::mark_config_changed();
  return Datum{0};
}

SAGA_FUNCTION(saga_drop_topic) {
  const Args args{fcinfo};
  begin_change("drop a topic");
  const std::string name = args.text(0, "topic");
  const bool force = args.boolean(1, "force");
  const store::Topic topic = operated_topic(name);
  const std::string actor = current_user_name();
  pg::OwnerScope owner;
  pg::Spi spi;
  const std::string reason_to_keep = store::reason_to_keep_topic(topic.id);
  if (!force && !reason_to_keep.empty()) {
    throw pg::Error{pg::kInUse, "topic " + pg::quoted(name) + " is in use", reason_to_keep,
                    "saga.drop_topic(topic, force => true) drops it with its consumer groups; nobody will receive "
                    "the events that it holds."};
  }
  const std::string before = store::topic_row(topic.id);
  store::delete_topic(topic.id);
  store::append_audit(actor, {"drop_topic", name, args.optional_text(2), before, std::nullopt});
  worker::mark_config_changed();
  return Datum{0};
}

SAGA_FUNCTION(saga_grant_topic) {
  change_rights(Args{fcinfo}, "grant_topic", store::grant_rights);
  return Datum{0};
}

SAGA_FUNCTION(saga_revoke_topic) {
  change_rights(Args{fcinfo}, "revoke_topic", store::revoke_rights);
  return Datum{0};
}

/// The topics on which the caller has any right. The views filter by it, as whoever reads them.
SAGA_FUNCTION(saga_readable_topics) {
  (void)fcinfo;
  std::vector<Datum> ids;
  for (const int id : store::readable_topics(GetUserId())) ids.push_back(Int32GetDatum(id));
  const int count = static_cast<int>(ids.size());
  return pg::call([&] {
    return PointerGetDatum(construct_array(ids.data(), count, INT4OID, sizeof(std::int32_t), true, TYPALIGN_INT));
  });
}

}  // namespace saga::api
