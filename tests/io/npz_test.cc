#include "io/npz.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/io/mutate.h"

namespace locant {
namespace npz_test {

using testing::error_of;
using testing::raw;

const std::string kData = LOCANT_TEST_DATA "/io/";

std::unique_ptr<TensorFile> parse(std::span<const std::byte> bytes) {
  return parse_npz(bytes, "hostile.npz");
}

std::vector<float> values(const TensorFile& file, const std::string& name) {
  const Tensor tensor = file.read(name);
  return {tensor.values().begin(), tensor.values().end()};
}

class EveryNpz : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryNpz, ListsAndReadsArrays) {
  const auto file = open_tensor_file(kData + GetParam());
  EXPECT_EQ(file->format(), "npz");
  EXPECT_EQ(file->tensors().size(), 15u);
  EXPECT_EQ(file->tensors()[0].name, "Transformer/encoderblock_0/LayerNorm_0/bias");
  EXPECT_EQ(values(*file, "Transformer/encoderblock_0/LayerNorm_0/bias"), (std::vector<float>{0, 0.25, 0.5}));
  EXPECT_EQ(file->read("embedding/kernel").shape(), (Shape{2, 2, 3, 4}));
  EXPECT_EQ(file->read("embedding/kernel")[47], 11.75f);
  EXPECT_EQ(values(*file, "half"), (std::vector<float>{0, 0.25, 0.5, 0.75, 1, 1.25}));
  EXPECT_EQ(file->find("half")->dtype, DType::f16);
  EXPECT_EQ(values(*file, "double"), (std::vector<float>{0, 0.25}));
  EXPECT_EQ(values(*file, "long"), (std::vector<float>{-2, -1, 0, 1}));
  EXPECT_EQ(values(*file, "bytes"), (std::vector<float>{0, 255}));
  EXPECT_EQ(values(*file, "flags"), (std::vector<float>{1, 0}));
  EXPECT_EQ(values(*file, "scalar"), (std::vector<float>{2.5}));
  EXPECT_EQ(file->find("scalar")->shape, Shape{});
  EXPECT_EQ(file->read("empty").shape(), (Shape{0, 3}));
  EXPECT_EQ(values(*file, "vector_f"), (std::vector<float>{0, 0.25, 0.5, 0.75})) << "one axis has one order";
  EXPECT_NE(error_of([&] { file->read("none"); }).find("there is no tensor \"none\""), std::string::npos);
  const auto type = [&](const char* name) {
    EXPECT_EQ(file->find(name)->dtype, DType::other);
    EXPECT_NE(error_of([&] { file->read(name); }).find("whose numbers are not read"), std::string::npos);
    return dtype_name(*file->find(name));
  };
  EXPECT_EQ(type("fortran"), "<f4 in Fortran order");
  EXPECT_EQ(type("big_endian"), ">f4");
  EXPECT_EQ(type("complex"), "<c8");
  EXPECT_EQ(type("record"), "a record");
  EXPECT_EQ(type("nine_axes"), "<f4 with 9 axes");
}

INSTANTIATE_TEST_SUITE_P(Npz, EveryNpz, ::testing::Values("arrays.npz", "arrays_deflated.npz"));

TEST(Npz, ChecksHeaders) {
  const auto header = [](const std::string& dict, const std::string& version = raw("\x01\x00")) {
    std::string length(version[0] == 1 ? 2 : 4, '\0');
    length[0] = static_cast<char>(dict.size());
    return "\x93NUMPY" + version + length + dict;
  };
  const auto refusal = [](const std::string& front) {
    return error_of([&] { parse_npy_header(front, "a.npy"); });
  };
  const NpyHeader good = parse_npy_header(
      header("{'shape': (2, 3), 'descr': '<f4', 'fortran_order': False}\n", raw("\x02\x00")), "a");
  EXPECT_EQ(good.info.shape, (Shape{2, 3}));
  EXPECT_EQ(good.info.bytes, 24u);
  EXPECT_EQ(good.begin, 12u + 58u);
  struct Case {
    const char* dict;
    const char* reason;
  };
  const Case cases[] = {
      {"    ", "ends too early"},
      {"[]  ", "no Python dict"},
      {"{'descr': '<f4', 'fortran_order': False}", "without descr, fortran_order or shape"},
      {"{'descr': '<f4', 'descr': '<f4'}", "unknown or second key"},
      {"{'x': 1}", "unknown or second key"},
      {"{'descr': '<f4}", "does not end"},
      {"{'descr': 4}", "no quoted text"},
      {"{'descr': [('a', '<f4')", "ends too early"},
      {"{'fortran_order': 0}", "neither True nor False"},
      {"{'shape': (1, -2)}", "no whole number"},
      {"{'shape': (a)}", "no whole number"},
      {"{'shape': (99999999999999999999,)}", "no whole number"},
      {"{'shape': (4294967296, 4294967296)}", "size overflows"},
  };
  for (const Case& c : cases)
    EXPECT_NE(refusal(header(c.dict)).find(c.reason), std::string::npos)
        << c.dict << ": " << refusal(header(c.dict));
  EXPECT_NE(refusal("PK").find("is no .npy array"), std::string::npos);
  EXPECT_NE(refusal(header("{}    ", raw("\x04\x00"))).find("version 4 of .npy"), std::string::npos);
  EXPECT_NE(refusal(raw("\x93NUMPY\x01\x00\xff\xff{}")).find("a header up to byte 65545"), std::string::npos);
}

TEST(Npz, EveryTruncationIsAnError) {
  testing::truncate_everywhere(parse, testing::read_bytes(kData + "arrays.npz"), true);
}

TEST(Npz, SurvivesChangedBytes) {
  std::uint64_t seed = 5;
  for (const char* name : {"arrays.npz", "arrays_deflated.npz"}) {
    const int fine = testing::flip_bytes(parse, testing::read_bytes(kData + name), 1500, seed++);
    EXPECT_GT(fine, 0);
    EXPECT_LT(fine, 1500);
  }
}

}  // namespace npz_test
}  // namespace locant
