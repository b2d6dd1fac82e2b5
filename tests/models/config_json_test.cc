#include "models/config_json.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"

namespace locant {
namespace config_json_test {

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ConfigReader, ReadsEveryKindAndKeepsDefaults) {
  ConfigReader reader("thing",
                      R"({"count":3,"ratio":0.5,"eps":1e-6,"flag":true,"name":"x","size":[4,5],"side":7,)"
                      R"("list":[1,2],"words":["a","b"],"whole":4.0,"pairs":[[1,2],[3,4]]})");
  std::int64_t count = 0, whole = 0, absent = 42;
  double ratio = 0;
  float eps = 0;
  bool flag = false;
  std::string name;
  Pair size, side;
  std::vector<std::int64_t> list;
  std::vector<std::string> words;
  std::vector<Pair> pairs;
  reader.field("pairs", pairs);
  reader.field("count", count);
  reader.field("whole", whole);
  reader.field("absent", absent);
  reader.field("ratio", ratio);
  reader.field("eps", eps);
  reader.field("flag", flag);
  reader.field("name", name);
  reader.field("size", size);
  reader.field("side", side);
  reader.field("list", list);
  reader.field("words", words);
  reader.finish();
  EXPECT_EQ(count, 3);
  EXPECT_EQ(whole, 4);
  EXPECT_EQ(absent, 42);
  EXPECT_EQ(ratio, 0.5);
  EXPECT_EQ(eps, 1e-6f);
  EXPECT_TRUE(flag);
  EXPECT_EQ(name, "x");
  EXPECT_EQ(size, (Pair{4, 5}));
  EXPECT_EQ(side, (Pair{7, 7}));
  EXPECT_EQ(list, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(words, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(pairs, (std::vector<Pair>{{1, 2}, {3, 4}}));
}

TEST(ConfigReader, RefusesWrongTypesAndRanges) {
  const auto refuses = [](const char* text, auto value) {
    ConfigReader reader("thing", text);
    EXPECT_THROW(reader.field("key", value), Error) << text;
  };
  for (const char* text : {R"({"key":-1})", R"({"key":1.5})", R"({"key":"3"})", R"({"key":1e30})",
                           R"({"key":18446744073709551615})", R"({"key":null})", R"({"key":true})"})
    refuses(text, std::int64_t{0});
  refuses(R"({"key":"1"})", 0.0);
  refuses(R"({"key":1})", false);
  refuses(R"({"key":1})", std::string());
  refuses(R"({"key":[1,2,3]})", Pair{});
  refuses(R"({"key":[1,-2]})", Pair{});
  refuses(R"({"key":3})", std::vector<std::int64_t>{});
  refuses(R"({"key":[1]})", std::vector<std::string>{});
  refuses(R"({"key":[1,2]})", std::vector<Pair>{});
  refuses(R"({"key":[[1,2,3]]})", std::vector<Pair>{});
  EXPECT_THROW(ConfigReader("thing", "[1]"), Error);
  EXPECT_THROW(ConfigReader("thing", "{\"key\":" + std::string(200000, '[') + std::string(200000, ']') + "}"),
               Error);
  EXPECT_THROW(ConfigReader("thing", "{"), Error);
}

TEST(ConfigReader, UnknownKeysAreNamedWithTheNearest) {
  ConfigReader reader("thing", R"({"depht":3,"zzz":1})");
  std::int64_t depth = 0;
  reader.field("depth", depth);
  const std::string message = message_of([&] { reader.finish(); });
  EXPECT_NE(message.find(R"("depht" (nearest: "depth"))"), std::string::npos) << message;
  EXPECT_NE(message.find("zzz"), std::string::npos) << message;
}

TEST(ConfigReader, OnlyAcceptsTheOneValue) {
  ConfigReader reader("thing", R"({"act":"gelu","scale":true,"tokens":["cls"]})");
  reader.only("act", "gelu");
  reader.only("scale", true);
  reader.only("tokens", std::vector<std::string>{"cls"});
  reader.only("absent", "anything");
  EXPECT_THROW(reader.only("act", "relu"), Error);
  EXPECT_THROW(reader.only("scale", false), Error);
  EXPECT_THROW(reader.only("tokens", std::vector<std::string>{}), Error);
}

TEST(ConfigWriter, WritesWhatTheReaderReads) {
  ConfigWriter writer;
  writer.field("eps", 1e-6f);
  writer.field("count", std::int64_t{3});
  writer.field("size", Pair{4, 5});
  writer.field("name", std::string("x"));
  writer.only("act", "gelu");
  EXPECT_EQ(writer.str(), R"({"eps":1e-06,"count":3,"size":[4,5],"name":"x"})");
}

TEST(MergeConfig, OverridesAndAdds) {
  EXPECT_EQ(merge_config(R"({"a":1,"b":2})", R"({"b":3,"c":4})"), R"({"a":1,"b":3,"c":4})");
  EXPECT_EQ(merge_config("", "{}"), "{}");
  EXPECT_THROW(merge_config("{}", "x"), Error);
}

TEST(NearestNames, ByEditDistance) {
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", "abc"), 0u);
  EXPECT_EQ(nearest_names("swin_tinny", {"vit_tiny", "swin_tiny", "swin_base"}, 2),
            (std::vector<std::string>{"swin_tiny", "vit_tiny"}));
  EXPECT_TRUE(nearest_names("x", {}, 3).empty());
}

}  // namespace config_json_test
}  // namespace locant
