#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/io/mutate.h"

namespace locant {
namespace safetensors_test {

using testing::Bytes;
using testing::error_of;
using testing::Folder;
using testing::read_bytes;

const std::string kData = LOCANT_TEST_DATA "/io/";

/// A file of a header (as it stands) and that many zero bytes.
Bytes file_of(const std::string& header, std::size_t data_bytes) {
  std::string text(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(text.data(), &length, 8);
  return testing::bytes_of(text + header + std::string(data_bytes, '\0'));
}

std::unique_ptr<TensorFile> parse(std::span<const std::byte> bytes) {
  return parse_safetensors(bytes, "hostile");
}

std::string refusal(const std::string& header, std::size_t data_bytes) {
  const Bytes bytes = file_of(header, data_bytes);
  return error_of([&] { parse(bytes); });
}

std::vector<float> values(const TensorFile& file, const std::string& name) {
  const Tensor tensor = file.read(name);
  return {tensor.values().begin(), tensor.values().end()};
}

TEST(Safetensors, ReadsWhatTheReferenceWrites) {
  const auto file = open_tensor_file(kData + "kinds.safetensors");
  EXPECT_EQ(file->format(), "safetensors");
  EXPECT_EQ(file->tensors().size(), 18u);
  EXPECT_EQ(file->metadata().at("note"), "caf\u00e9");
  EXPECT_EQ(values(*file, "f32"), (std::vector<float>{0, 0.25, 0.5, 0.75, 1, 1.25}));
  EXPECT_EQ(values(*file, "f16"), (std::vector<float>{0.25, 0.5, 0.75, 1, 1.25, 1.5}));
  EXPECT_EQ(values(*file, "bf16"), (std::vector<float>{0.5, 0.75, 1, 1.25, 1.5, 1.75}));
  EXPECT_EQ(values(*file, "f64"), (std::vector<float>{0.75, 1, 1.25, 1.5, 1.75, 2}));
  EXPECT_EQ(values(*file, "i64"), (std::vector<float>{-3, -2, -1, 0, 1, 2}));
  EXPECT_EQ(values(*file, "i32"), (std::vector<float>{-2, -1, 0, 1, 2, 3}));
  EXPECT_EQ(values(*file, "i16"), (std::vector<float>{-1, 0, 1, 2, 3, 4}));
  EXPECT_EQ(values(*file, "i8"), (std::vector<float>{-128, -1, 0, 127}));
  EXPECT_EQ(values(*file, "u8"), (std::vector<float>{0, 1, 200, 255}));
  EXPECT_EQ(values(*file, "bool"), (std::vector<float>{1, 0, 1}));
  EXPECT_EQ(values(*file, "scalar"), (std::vector<float>{2.5}));
  EXPECT_EQ(file->find("scalar")->shape.rank(), 0);
  EXPECT_EQ(file->read("empty").shape(), (Shape{0, 3}));
  EXPECT_EQ(file->find("nothing"), nullptr);
  EXPECT_NE(error_of([&] { file->read("nothing"); }).find("no tensor \"nothing\""), std::string::npos);
}

/// Reference in float64: sign, exponent and fraction by the definition of IEEE 754 binary16.
double half(unsigned bits) {
  const unsigned exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double sign = bits >> 15 != 0 ? -1.0 : 1.0;
  if (exponent == 31) return fraction != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, static_cast<int>(exponent) - 25);
}

TEST(Safetensors, ConvertsEveryHalf) {
  Bytes bytes = file_of(R"({"h":{"dtype":"F16","shape":[65536],"data_offsets":[0,131072]}})", 131072);
  for (unsigned i = 0; i < 65536; ++i) {
    bytes[bytes.size() - 131072 + 2 * i] = static_cast<std::byte>(i & 255);
    bytes[bytes.size() - 131072 + 2 * i + 1] = static_cast<std::byte>(i >> 8);
  }
  const Tensor out = parse(bytes)->read("h");
  for (unsigned i = 0; i < 65536; ++i) {
    const double expected = half(i);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(out[i])) << i;
    } else {
      ASSERT_EQ(out[i], expected) << i;
      ASSERT_EQ(std::signbit(out[i]), std::signbit(expected)) << i;
    }
  }
}

TEST(Safetensors, BorrowsAlignedFloatsAndCopiesOthers) {
  const Folder folder;
  const std::string header = R"({"a":{"dtype":"F32","shape":[2048],"data_offsets":[0,8192]}})";
  testing::write_bytes(folder / "a.safetensors",
                       file_of(header + std::string(8 - header.size() % 8, ' '), 8192));
  testing::write_bytes(folder / "b.safetensors",
                       file_of(header + std::string(9 - header.size() % 8, ' '), 8192));
  EXPECT_TRUE(open_tensor_file(folder / "a.safetensors")->read("a").is_borrowed())
      << "and outlives the file's handle";
  EXPECT_FALSE(open_tensor_file(folder / "b.safetensors")->read("a").is_borrowed());
  const auto file = open_tensor_file(folder / "a.safetensors");
  const Tensor before = file->read("a");
  file->release("a");
  EXPECT_EQ(before[2047], 0.0f) << "released pages come back when touched";
}

TEST(Safetensors, WritesWhatItReads) {
  const Folder folder;
  const std::string path = folder / "w.safetensors";
  const Tensor a =
      Tensor::from({2, 2}, std::vector<float>{1, -0.0f, 3e-42f, std::numeric_limits<float>::infinity()});
  const std::vector<std::pair<std::string, Tensor>> tensors = {{"z", a},
                                                               {"a \"quoted\"\n", Tensor::full({3}, 2)},
                                                               {"scalar", Tensor::full({}, 5)},
                                                               {"none", Tensor({0, 4})}};
  write_safetensors(path, tensors, {{"k", "caf\u00e9\t"}, {"j", ""}});
  const Bytes first = read_bytes(path);
  write_safetensors(path, tensors, {{"j", ""}, {"k", "caf\u00e9\t"}});
  EXPECT_EQ(read_bytes(path), first) << "the same bytes each time";

  std::uint64_t length = 0;
  std::memcpy(&length, first.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  const auto file = open_tensor_file(path);
  ASSERT_EQ(file->tensors().size(), 4u);
  EXPECT_EQ(file->tensors()[0].name, "z");
  EXPECT_EQ(std::memcmp(file->read("z").data(), a.data(), 16), 0);
  EXPECT_EQ(values(*file, "a \"quoted\"\n"), (std::vector<float>{2, 2, 2}));
  EXPECT_EQ(file->read("scalar").shape(), Shape{});
  EXPECT_EQ(file->read("none").shape(), (Shape{0, 4}));
  EXPECT_EQ(file->metadata().at("k"), "caf\u00e9\t");
}

TEST(Safetensors, WritesCountsBesideTensors) {
  const Folder folder;
  const std::string path = folder / "w.safetensors";
  write_safetensors(path, {{"a", Tensor::full({3}, 2)}}, {},
                    {{"batches", 7}, {"most", std::int64_t{1} << 40}});
  const auto file = open_tensor_file(path);
  ASSERT_EQ(file->tensors().size(), 3u);
  const TensorInfo* batches = file->find("batches");
  ASSERT_NE(batches, nullptr);
  EXPECT_EQ(batches->dtype, DType::i64);
  EXPECT_EQ(batches->shape, Shape{});
  EXPECT_EQ(file->read("batches")[0], 7.0f);
  EXPECT_EQ(file->read("most")[0], static_cast<float>(std::int64_t{1} << 40));
  EXPECT_EQ(values(*file, "a"), (std::vector<float>{2, 2, 2}));
  EXPECT_NE(error_of([&] {
              write_safetensors(path, {{"a", Tensor::full({1}, 1)}}, {}, {{"a", 1}});
            }).find("two tensors are named \"a\""),
            std::string::npos);
}

TEST(Safetensors, RefusesToWriteWhatCannotBeRead) {
  const Folder folder;
  const std::string path = folder / "w.safetensors";
  testing::write_bytes(path, testing::bytes_of("old"));
  const Tensor one = Tensor::full({1}, 1);
  const auto error = [&](const std::vector<std::pair<std::string, Tensor>>& tensors) {
    return error_of([&] { write_safetensors(path, tensors, {}); });
  };
  EXPECT_NE(error({{"a", one}, {"a", one}}).find("two tensors are named \"a\""), std::string::npos);
  EXPECT_NE(error({{"a", Tensor()}}).find("no numbers"), std::string::npos);
  EXPECT_NE(error({{"\xff", one}}).find("UTF-8"), std::string::npos);
  EXPECT_NE(error({{"__metadata__", one}}).find("__metadata__"), std::string::npos);
  EXPECT_EQ(read_bytes(path), testing::bytes_of("old"));
}

TEST(Safetensors, SaysWhichFieldIsWrong) {
  struct Case {
    const char* header;
    std::size_t data;
    const char* reason;
  };
  const Case cases[] = {
      {"", 0, "byte 8: the header does not begin with"},
      {"[]", 0, "does not begin with"},
      {"{", 0, "no valid JSON"},
      {"{}}", 0, "byte 11: the header is no valid JSON"},
      {"{\"a\":1}", 0, "has a number where \"a\" wants an object"},
      {R"({"a":{"dtype":4,"shape":[],"data_offsets":[0,4]}})", 4,
       "has a number where \"dtype\" wants a string"},
      {R"({"a":{"shape":[],"data_offsets":[0,4]}})", 4, "\"a\" has no dtype"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "\"a\" has no shape"},
      {R"({"a":{"dtype":"F32","shape":[]}})", 0, "\"a\" has no pair of data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0]}})", 4, "no pair of data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}})", 4,
       "\"a\" has the unknown field \"x\""},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4, "gives \"dtype\" twice"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "negative number -1 in \"shape\""},
      {R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "1.5 in \"shape\""},
      {R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", 4,
       "no 64-bit whole number"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}})", 4, "size overflows"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "size overflows"},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,4]}})", 4, "more than 2 numbers"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "an array where \"shape\" wants"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
       "takes 8 bytes, but its data_offsets are [0, 4]"},
      {R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[4,0]}})", 4, "data_offsets are [4, 0]"},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}})", 8, "begins at 4, which leaves a hole"},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})",
       5, "data byte 4: tensor \"b\" begins at 3, which leaves an overlap"},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 3, "4 bytes, but 3 bytes of data follow"},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 5, "4 bytes, but 5 bytes of data follow"},
      {R"({"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":{}})", 1, "the name \"a\" appears twice"},
      {R"({"__metadata__":{"k":1}})", 0, "has a number where \"k\" wants a string"},
      {R"({"__metadata__":{"k":"","k":""}})", 0, "the name \"k\" appears twice"},
      {R"({"__metadata__":{"k":{}}})", 0, "an object where \"k\" wants a string"},
      {R"({"a":null})", 0, "has null where \"a\" wants an object"},
      {R"({"__metadata__":{"k":null}})", 0, "has null where \"k\" wants a string"},
      {R"({"__metadata__":[]})", 0, "an array where \"__metadata__\" wants"},
      {"{\"\xff\":{}}", 0, "no valid JSON"},
  };
  for (const Case& c : cases)
    EXPECT_NE(refusal(c.header, c.data).find(c.reason), std::string::npos) << c.header << "\n"
                                                                           << refusal(c.header, c.data);
}

TEST(Safetensors, ChecksTheHeaderLength) {
  const auto error = [](const std::string& text) {
    const Bytes bytes = testing::bytes_of(text);
    return error_of([&] { parse(bytes); });
  };
  EXPECT_NE(error("abc").find("byte 3: the file ends inside the 8-byte header length"), std::string::npos);
  EXPECT_NE(error(std::string(8, '\xff') + "{}").find("above the limit"), std::string::npos);
  EXPECT_NE(
      error(testing::raw("\x09\x00\x00\x00\x00\x00\x00\x00{}")).find("header length 9 exceeds the 2 bytes"),
      std::string::npos);
}

TEST(Safetensors, DeepNestingEndsEarly) {
  EXPECT_NE(
      refusal(testing::raw("{\"a\":{\"shape\":") + std::string(5'000'000, '['), 0).find("an array where"),
      std::string::npos);
  std::string objects;
  for (int i = 0; i < 500'000; ++i) objects += "{\"a\":";
  EXPECT_NE(refusal(objects, 0).find("unknown field \"a\""), std::string::npos);
}

TEST(Safetensors, AcceptsAnyOrderInTheHeader) {
  const Bytes bytes = file_of(
      R"({"b":{"data_offsets":[1,3],"shape":[2],"dtype":"U8"},"e":{"dtype":"F32","shape":[0],"data_offsets":[1,1]},"a":{"dtype":"I8","shape":[1,1],"data_offsets":[0,1]}}   )",
      3);
  const auto file = parse(bytes);
  ASSERT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->tensors()[0].name, "a");
  EXPECT_EQ(file->tensors()[1].name, "e");
  EXPECT_EQ(file->tensors()[2].name, "b");
  EXPECT_TRUE(parse(file_of("{}", 0))->tensors().empty());
  EXPECT_TRUE(parse(file_of(R"({"__metadata__":null})", 0))->metadata().empty());
}

TEST(Safetensors, EveryTruncationIsAnError) {
  testing::truncate_everywhere(parse, read_bytes(kData + "kinds.safetensors"), true);
}

TEST(Safetensors, SurvivesChangedBytes) {
  const int fine = testing::flip_bytes(parse, read_bytes(kData + "kinds.safetensors"), 4000, 7);
  EXPECT_GT(fine, 0);
  EXPECT_LT(fine, 4000);
}

}  // namespace safetensors_test
}  // namespace locant
