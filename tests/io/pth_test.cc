#include "io/pth.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/io/mutate.h"

namespace locant {
namespace pth_test {

using testing::Bytes;
using testing::error_of;
using testing::Folder;
using testing::raw;
using testing::read_bytes;

const std::string kData = LOCANT_TEST_DATA "/io/";

/// start / 4, (start + 1) / 4, ...: the numbers that scripts/goldens/make_pth_fixtures.py puts into a tensor.
std::vector<float> ramp(int count, int start = 0) {
  std::vector<float> out;
  for (int i = 0; i < count; ++i) out.push_back(static_cast<float>(start + i) / 4.0f);
  return out;
}

void expect_tensor(const TensorFile& file, const std::string& name, DType dtype, const Shape& shape,
                   const std::vector<float>& values) {
  SCOPED_TRACE(file.path() + ": " + name);
  const TensorInfo* info = file.find(name);
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->dtype, dtype);
  EXPECT_EQ(info->shape, shape);
  const Tensor tensor = file.read(name);
  EXPECT_EQ(tensor.shape(), shape);
  EXPECT_EQ(std::vector<float>(tensor.values().begin(), tensor.values().end()), values);
  file.release(name);
  const Tensor again = file.read(name);
  EXPECT_EQ(std::vector<float>(again.values().begin(), again.values().end()), values) << "after release";
}

class EveryForm : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryForm, HoldsEveryElementType) {
  const auto file = open_tensor_file(kData + GetParam());
  EXPECT_EQ(file->tensors().size(), 19u);
  EXPECT_EQ(file->tensors().front().name, "f32");
  EXPECT_TRUE(file->notes().empty());
  EXPECT_EQ(file->find("f16")->bytes, 12u);
  expect_tensor(*file, "f32", DType::f32, {2, 3}, ramp(6));
  expect_tensor(*file, "f16", DType::f16, {2, 3}, ramp(6, 1));
  expect_tensor(*file, "bf16", DType::bf16, {2, 3}, ramp(6, 2));
  expect_tensor(*file, "f64", DType::f64, {2, 3}, ramp(6, 3));
  expect_tensor(*file, "i64", DType::i64, {2, 3}, {-3, -2, -1, 0, 1, 2});
  expect_tensor(*file, "i32", DType::i32, {6}, {-2, -1, 0, 1, 2, 3});
  expect_tensor(*file, "i16", DType::i16, {6}, {-1, 0, 1, 2, 3, 4});
  expect_tensor(*file, "i8", DType::i8, {4}, {-128, -1, 0, 127});
  expect_tensor(*file, "u8", DType::u8, {4}, {0, 1, 200, 255});
  expect_tensor(*file, "bool", DType::boolean, {3}, {1, 0, 1});
  expect_tensor(*file, "scalar", DType::f32, {}, {2.5f});
  expect_tensor(*file, "empty", DType::f32, {0, 3}, {});
}

TEST_P(EveryForm, GathersViews) {
  const auto file = open_tensor_file(kData + GetParam());
  std::vector<float> transposed, every_second, permuted;
  for (int j = 0; j < 6; ++j)
    for (int i = 0; i < 4; ++i) transposed.push_back(static_cast<float>(8 + i * 6 + j) / 4.0f);
  for (const int i : {1, 3})
    for (const int j : {0, 3}) every_second.push_back(static_cast<float>(8 + i * 6 + j) / 4.0f);
  for (int c = 0; c < 4; ++c)
    for (int a = 0; a < 2; ++a)
      for (int b = 0; b < 3; ++b) permuted.push_back(static_cast<float>((a * 3 + b) * 4 + c) / 4.0f);
  expect_tensor(*file, "transposed", DType::f32, {6, 4}, transposed);
  expect_tensor(*file, "every_second", DType::f32, {2, 2}, every_second);
  expect_tensor(*file, "permuted", DType::f16, {4, 2, 3}, permuted);
  expect_tensor(*file, "shared_head", DType::f32, {10}, ramp(10, -5));
  expect_tensor(*file, "shared_tail", DType::f32, {4, 5}, ramp(20, 5));
  expect_tensor(*file, "expanded", DType::f32, {2, 2}, {7, 7, 7, 7});
  expect_tensor(*file, "parameter", DType::f32, {3}, ramp(3, 4));
}

INSTANTIATE_TEST_SUITE_P(Pth, EveryForm,
                         ::testing::Values("kinds.pth", "kinds_legacy.pth", "kinds_protocol4.pth",
                                           "kinds_deflated.pth"));

TEST(Pth, NamesItsForm) {
  EXPECT_EQ(open_tensor_file(kData + "small.pth")->format(), "pth (zip)");
  EXPECT_EQ(open_tensor_file(kData + "small_legacy.pth")->format(), "pth (legacy)");
}

TEST(Pth, SwapsBigEndianNumbers) {
  const auto file = open_tensor_file(kData + "small_big_endian.pth");
  expect_tensor(*file, "a", DType::f32, {2}, ramp(2));
  expect_tensor(*file, "b", DType::f16, {3}, ramp(3, 2));
}

TEST(Pth, SaysWhatItCannotRead) {
  const auto open = [](const char* name) { return error_of([&] { open_tensor_file(kData + name); }); };
  EXPECT_NE(
      open("whole_module.pth")
          .find("(top): an object of torch.nn.modules.linear.Linear passed over); save model.state_dict()"),
      std::string::npos);
  EXPECT_NE(error_of([] { open_tensor_file(kData + "small.pth")->read("z"); }).find("no tensor \"z\""),
            std::string::npos);
}

TEST(Pth, NoticesDamagedNumbers) {
  for (const char* name : {"small.pth", "kinds_deflated.pth"}) {
    Bytes bytes = read_bytes(kData + name);
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const std::size_t header = text.find("/data/0");  // then an extra field and the numbers
    const std::size_t extra = static_cast<std::size_t>(bytes[text.rfind("PK\3\4", header) + 28]) +
                              256 * static_cast<std::size_t>(bytes[text.rfind("PK\3\4", header) + 29]);
    bytes[header + 7 + extra + 2] ^= std::byte{0x40};
    const auto file = parse_pth(bytes, name);
    const std::string error = error_of([&] { file->read(file->tensors().front().name); });
    EXPECT_NE(error.find("data/0: byte "), std::string::npos) << error;
    EXPECT_NE(error.find("damaged"), std::string::npos) << error;
  }
}

/// The archive with every check sum of its directory set to 0.
Bytes without_sums(Bytes bytes) {
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (std::size_t at = text.find("PK\1\2"); at != std::string::npos; at = text.find("PK\1\2", at + 4))
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at) + 16, 4, std::byte{0});
  return bytes;
}

TEST(Pth, ReadsArchivesWithoutCheckSums) {
  const std::string note = "the archive has no check sums: damage in it would go unnoticed";
  const auto file = open_tensor_file(kData + "small_no_sums.pth");
  EXPECT_EQ(file->notes(), std::vector<std::string>{note});
  expect_tensor(*file, "a", DType::f32, {2}, ramp(2));
  expect_tensor(*file, "b", DType::f16, {3}, ramp(3, 2));
  const Bytes stored = without_sums(read_bytes(kData + "kinds.pth"));
  EXPECT_EQ(parse_pth(stored, "stored")->notes(), std::vector<std::string>{note});
  expect_tensor(*parse_pth(stored, "stored"), "f32", DType::f32, {2, 3}, ramp(6));

  const Bytes deflated = without_sums(read_bytes(kData + "kinds_deflated.pth"));
  EXPECT_NE(error_of([&] { parse_pth(deflated, "deflated"); }).find("is compressed and has no check sum"),
            std::string::npos);
  // Where one storage has a sum, the others' zeros are damage.
  Bytes mixed = without_sums(read_bytes(kData + "small.pth"));
  const std::string text(reinterpret_cast<const char*>(mixed.data()), mixed.size());
  const std::size_t last = text.rfind("/data/1");
  mixed[last - 46 - 5 + 16] = std::byte{1};
  ASSERT_EQ(text.substr(last - 46 - 5, 4), "PK\1\2");
  EXPECT_NE(error_of([&] { parse_pth(mixed, "mixed"); }).find("data.pkl: byte 239 of 239: damaged"),
            std::string::npos);
}

std::unique_ptr<TensorFile> parse(std::span<const std::byte> bytes) {
  return parse_pth(bytes, "hostile.pth");
}

TEST(Pth, EveryTruncationIsAnError) {
  for (const char* name :
       {"small.pth", "small_legacy.pth", "kinds_deflated.pth", "training_state_legacy.pth"}) {
    SCOPED_TRACE(name);
    testing::truncate_everywhere(parse, read_bytes(kData + name), true);
  }
}

TEST(Pth, SurvivesChangedBytes) {
  std::uint64_t seed = 1;
  for (const char* name : {"kinds.pth", "kinds_legacy.pth", "kinds_protocol4.pth", "kinds_deflated.pth",
                           "training_state.pth", "training_state_legacy.pth", "small_legacy.pth"}) {
    SCOPED_TRACE(name);
    const int fine = testing::flip_bytes(parse, read_bytes(kData + name), 1500, seed++);
    EXPECT_GT(fine, 0) << "the changes should not all be fatal";
    EXPECT_LT(fine, 1500) << "the changes should matter";
  }
}

/// A legacy file whose one tensor "w" has the given pickled offset, shape and strides over eight floats.
Bytes legacy_with(const std::string& offset, const std::string& shape, const std::string& strides) {
  const std::string front =
      raw("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.");
  const std::string storage =
      raw("(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00"
          "0X\x03\x00\x00\x00"
          "cpuK\x08NtQ");
  const std::string object = raw("\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(") +
                             storage + offset + shape + strides + raw("\x89}tRs.");
  const std::string keys =
      raw("\x80\x02]X\x01\x00\x00\x00"
          "0a.");
  return testing::bytes_of(front + object + keys + raw("\x08\x00\x00\x00\x00\x00\x00\x00") +
                           std::string(32, '\0'));
}

TEST(Pth, ChecksViewsAgainstTheirStorage) {
  EXPECT_TRUE(
      testing::survives(parse, legacy_with("K\x02", "K\x02K\x03\x86", "K\x03K\x01\x86")));  // exactly the end
  const auto error = [](const std::string& offset, const std::string& shape, const std::string& strides) {
    const Bytes bytes = legacy_with(offset, shape, strides);
    return error_of([&] { parse(bytes); });
  };
  const std::string huge = raw("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x02");  // 2^57
  const std::string minus = "J\xff\xff\xff\xff";
  EXPECT_NE(error("K\x03", "K\x02K\x03\x86", "K\x03K\x01\x86").find("reaches element 9 of a storage of 8"),
            std::string::npos);
  EXPECT_NE(error(raw("K\x00"), "K\x02K\x03\x86", "K\x06K\x01\x86").find("reaches element 9"),
            std::string::npos);
  EXPECT_NE(error(huge, "K\x01\x85", "K\x01\x85").find("reaches element"), std::string::npos);
  EXPECT_NE(error(minus, "K\x01\x85", "K\x01\x85").find("offset of a tensor"), std::string::npos);
  EXPECT_NE(error("K\x01", minus + "\x85", "K\x01\x85").find("extent of a tensor"), std::string::npos);
  EXPECT_NE(error("K\x01", "K\x02\x85", minus + "\x85").find("stride of a tensor"), std::string::npos);
  EXPECT_NE(error("K\x01", huge + "K\x04\x86", "K\x01K\x01\x86").find("size overflows"), std::string::npos);
  EXPECT_NE(error("K\x01", huge + "\x85", huge + "\x85").find("overflow"), std::string::npos);
  EXPECT_NE(error("K\x01", "K\x02\x85", "K\x01K\x01\x86").find("has 2 strides"), std::string::npos);
  // 2^57 copies of one number: a few hundred bytes must not ask for memory without bound.
  EXPECT_NE(error("K\x01", huge + "\x85", raw("K\x00\x85")).find("repeats"), std::string::npos);
}

TEST(Pth, RefusesImpossibleZipEntries) {
  // The size of an entry in the directory of a deflated archive, raised to what deflate cannot reach.
  Bytes bytes = read_bytes(kData + "kinds_deflated.pth");
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::size_t directory = text.find("PK\1\2");
  ASSERT_NE(directory, std::string::npos);
  bytes[directory + 24 + 3] = std::byte{0x3F};
  EXPECT_NE(error_of([&] { parse(bytes); }).find("cannot be"), std::string::npos);
}

TEST(Pth, OpensByContent) {
  const Folder folder;
  testing::write_bytes(folder / "weights.bin", read_bytes(kData + "small.pth"));
  EXPECT_EQ(open_tensor_file(folder / "weights.bin")->tensors().size(), 2u);
  const auto error = [&](const std::string& text) {
    testing::write_bytes(folder / "x.pth", testing::bytes_of(text));
    return error_of([&] { open_tensor_file(folder / "x.pth"); });
  };
  EXPECT_NE(error("version https://git-lfs.github.com/spec/v1\n").find("Git LFS pointer"), std::string::npos);
  EXPECT_NE(error("<!DOCTYPE html>").find("web page"), std::string::npos);
  EXPECT_NE(error("").find("empty"), std::string::npos);
  EXPECT_NE(error("\x80\x02}.").find("magic number"), std::string::npos);
  EXPECT_NE(error("PK\x03\x04 and so on").find("zip archive cannot be opened"), std::string::npos);
  EXPECT_NE(error_of([&] { open_tensor_file(folder.path().string()); }).find("not a regular file"),
            std::string::npos);
  EXPECT_NE(error_of([&] { open_tensor_file(folder / "none"); }).find("No such file"), std::string::npos);
}

}  // namespace pth_test
}  // namespace locant
