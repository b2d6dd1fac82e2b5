#include "core/profile.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace locant {
namespace profile_test {

using std::chrono::milliseconds;

const ProfileEntry* find(const std::vector<ProfileEntry>& entries, const std::string& kind) {
  for (const ProfileEntry& entry : entries)
    if (entry.kind == kind) return &entry;
  return nullptr;
}

TEST(Profile, OffCountsNothing) {
  profile_start();
  profile_stop();
  { ProfileScope scope("off"); }
  profile_start();
  EXPECT_TRUE(profile_stop().empty());
}

TEST(Profile, CountsCallsByKindAndForgetsEarlierOnes) {
  profile_start();
  { ProfileScope scope("early"); }
  profile_start();
  for (int i = 0; i < 3; ++i) ProfileScope scope("linear");
  { ProfileScope scope("softmax"); }
  const auto entries = profile_stop();
  ASSERT_EQ(entries.size(), 2u);
  ASSERT_NE(find(entries, "linear"), nullptr);
  EXPECT_EQ(find(entries, "linear")->calls, 3);
  EXPECT_EQ(find(entries, "softmax")->calls, 1);
}

TEST(Profile, OuterScopeLeavesOutWhatTheInnerDoes) {
  profile_start();
  {
    ProfileScope outer("outer");
    ProfileScope inner("inner");
    std::this_thread::sleep_for(milliseconds(20));
  }
  const auto entries = profile_stop();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].kind, "inner");  // most time first
  EXPECT_GE(entries[0].seconds, 0.02);
  EXPECT_LT(entries[1].seconds, entries[0].seconds);
  EXPECT_GE(entries[1].seconds, 0.0);
}

TEST(Profile, ThreadsAddUp) {
  profile_start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([] {
      for (int i = 0; i < 100; ++i) ProfileScope scope("work");
    });
  for (std::thread& thread : threads) thread.join();
  const auto entries = profile_stop();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].calls, 400);
}

}  // namespace profile_test
}  // namespace locant
