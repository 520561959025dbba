// Snapshots: the server's text form, and seeing as a naive set of transactions would answer it.
#include "domain/snapshot.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>

#include "random.hpp"

namespace {

using saga::domain::Snapshot;
using saga::domain::Xid;
using saga::test::Random;

constexpr Xid kXidMax = std::numeric_limits<Xid>::max();

Snapshot snapshot(std::string_view text) { return Snapshot::parse(text).value(); }

// The same answers without any cleverness: a set of what has not ended.
struct Model {
  Xid xmin = 1;
  Xid xmax = 1;
  std::set<Xid> running;

  bool sees(Xid xid) const { return xid < xmin || (xid < xmax && running.count(xid) == 0); }

  std::string text() const {
    std::string text = std::to_string(xmin) + ":" + std::to_string(xmax) + ":";
    for (const Xid xid : running) text += (xid == *running.begin() ? "" : ",") + std::to_string(xid);
    return text;
  }
};

Model random_model(Random &random) {
  Model model;
  model.xmin = 1 + random.below(50);
  model.xmax = model.xmin + random.below(60);
  for (Xid xid = model.xmin; xid < model.xmax; ++xid) {
    if (random.below(3) == 0) model.running.insert(xid);
  }
  return model;
}

TEST(Snapshot, sees_what_the_naive_model_sees) {
  Random random(5);
  for (int i = 0; i < 2000; ++i) {
    const Model model = random_model(random);
    const Snapshot real = snapshot(model.text());
    for (Xid xid = 1; xid < 120; ++xid) ASSERT_EQ(real.sees(xid), model.sees(xid)) << model.text() << " " << xid;
  }
}

TEST(Snapshot, without_hides_one_transaction_and_no_other) {
  Random random(6);
  for (int i = 0; i < 2000; ++i) {
    const Model model = random_model(random);
    const Xid hidden = 1 + random.below(119);
    const Snapshot real = snapshot(model.text()).without(hidden);
    for (Xid xid = 1; xid < 120; ++xid) {
      ASSERT_EQ(real.sees(xid), model.sees(xid) && xid != hidden)
          << model.text() << " without " << hidden << " " << xid;
    }
    ASSERT_EQ(Snapshot::parse(real.text()), real);
    ASSERT_EQ(real.without(hidden), real);
  }
}

TEST(Snapshot, without_may_be_repeated_in_any_order) {
  const Snapshot base = snapshot("10:20:12,15");
  EXPECT_EQ(base.without(11).without(17).text(), "10:20:11,12,15,17");
  EXPECT_EQ(base.without(17).without(11), base.without(11).without(17));
}

TEST(Snapshot, without_changes_nothing_that_is_not_seen_anyway) {
  const Snapshot base = snapshot("10:20:12,15");
  for (const Xid xid : {Xid{0}, Xid{12}, Xid{15}, Xid{20}, Xid{21}, kXidMax}) EXPECT_EQ(base.without(xid), base) << xid;
}

TEST(Snapshot, without_an_xid_below_xmin_lowers_xmin_to_it) {
  const Snapshot lowered = snapshot("10:20:12").without(4);
  EXPECT_EQ(lowered.text(), "4:20:4,12");
  EXPECT_TRUE(lowered.sees(3));
  EXPECT_TRUE(lowered.sees(5));
  EXPECT_TRUE(lowered.sees(9));
}

// The reason without() exists: the taker's own xid is not in its own running list.
TEST(Snapshot, taker_does_not_see_itself_once_it_is_left_out) {
  const Snapshot taken = snapshot("100:105:101");
  ASSERT_TRUE(taken.sees(103));
  EXPECT_FALSE(taken.without(103).sees(103));
}

TEST(Snapshot, none_sees_nothing) {
  const Snapshot none = Snapshot::none();
  for (const Xid xid : {Xid{0}, Xid{1}, Xid{2}, Xid{3}, Xid{1000}, kXidMax}) EXPECT_FALSE(none.sees(xid)) << xid;
  EXPECT_EQ(none.text(), "1:1:");
  EXPECT_EQ(snapshot(none.text()), none);
}

TEST(Snapshot, xid_zero_is_no_transaction_and_never_seen) { EXPECT_FALSE(snapshot("10:20:").sees(0)); }

TEST(Snapshot, every_text_that_parses_comes_back_unchanged) {
  Random random(7);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_model(random).text();
    ASSERT_EQ(snapshot(text).text(), text);
  }
}

TEST(Snapshot, parts_are_readable) {
  const Snapshot parsed = snapshot("10:20:12,15");
  EXPECT_EQ(parsed.xmin(), 10U);
  EXPECT_EQ(parsed.xmax(), 20U);
  EXPECT_EQ(parsed.running(), (std::vector<Xid>{12, 15}));
}

TEST(Snapshot, the_edges_of_the_running_list_are_xmin_and_the_last_before_xmax) {
  EXPECT_TRUE(Snapshot::parse("10:20:10,19"));
  EXPECT_FALSE(Snapshot::parse("10:20:9"));
  EXPECT_FALSE(Snapshot::parse("10:20:20"));
  EXPECT_TRUE(Snapshot::parse("10:10:"));
  EXPECT_FALSE(Snapshot::parse("10:10:10"));
}

TEST(Snapshot, the_largest_xids_do_not_wrap) {
  const Snapshot last = snapshot("18446744073709551614:18446744073709551615:18446744073709551614");
  EXPECT_FALSE(last.sees(kXidMax));
  EXPECT_FALSE(last.sees(kXidMax - 1));
  EXPECT_TRUE(last.sees(kXidMax - 2));
  EXPECT_FALSE(Snapshot::parse("1:18446744073709551616:"));
  EXPECT_FALSE(Snapshot::parse("1:99999999999999999999999:"));
}

TEST(Snapshot, malformed_text_is_refused) {
  for (const std::string_view text :
       {"",        ":",         "::",        "10",        "10:",          "10:20",        ":20:",
        "10::",    "10:20:,",   "10:20:12,", "10:20:,12", "10:20:12,,15", "10:20:15,12",  "10:20:12,12",
        "20:10:",  "0:0:",      "0:10:",     "10:20:0",   "-1:20:",       "+1:20:",       "10:-20:",
        " 10:20:", "10:20: ",   "10 :20:",   "10:20:12 ", "10:20:12;15",  "10:20:12, 15", "010:20:",
        "10:020:", "10:20:012", "0x10:20:",  "10:20:1e1", "10:20:12:",    "ten:20:",      "10,20:"}) {
    EXPECT_FALSE(Snapshot::parse(text)) << text;
  }
  EXPECT_FALSE(Snapshot::parse(std::string_view("10:20:\0", 7)));
  EXPECT_FALSE(Snapshot::parse(std::string_view("10:20\0:", 7)));
}

TEST(Snapshot, a_cut_text_never_reads_as_a_longer_one) {
  const std::string whole = "100:205:101,150,199";
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto parsed = Snapshot::parse(std::string_view(whole).substr(0, length));
    if (!parsed) continue;
    ASSERT_EQ(parsed->text(), whole.substr(0, length));
  }
}

TEST(Snapshot, a_long_running_list_is_searched_right) {
  std::string text = "1:200001:";
  for (Xid xid = 2; xid <= 200'000; xid += 2) text += (xid == 2 ? "" : ",") + std::to_string(xid);
  const Snapshot large = snapshot(text);
  for (Xid xid = 1; xid <= 200'000; ++xid) ASSERT_EQ(large.sees(xid), xid % 2 == 1);
}

}  // namespace
