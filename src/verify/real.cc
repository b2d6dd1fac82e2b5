#include <fmt/format.h>

#include <array>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "core/sha256.h"
#include "io/image.h"
#include "io/pil_resize.h"
#include "io/preprocess.h"
#include "models/family.h"
#include "models/load.h"
#include "verify/oracle_file.h"
#include "verify/verify.h"

namespace locant {
namespace {

/// What the file compares, with the bound for a float32 run and the model's own path of it.
struct RealQuantity {
  std::string_view name;
  double bound;
  const char* path;
};
constexpr std::array<RealQuantity, 6> kQuantities = {{
    {"input", 1e-6, ""},
    {"embeddings_with_position", 2e-5, "pos_drop"},
    {"block_", 5e-5, "blocks."},  // a count of blocks follows
    {"last_hidden_state", 5e-5, "norm"},
    {"cls", 5e-5, ""},
    {"last_attention_cls_to_patches", 2e-4, ""},
}};

class KeepAll final : public Probe {
 public:
  void see(const std::string& path, const Var& value) override { seen[path] = value.value(); }
  std::map<std::string, Tensor> seen;
};

std::string find_photo(const RealOracle& oracle, const std::string& photo_dir) {
  namespace fs = std::filesystem;
  const fs::path beside = fs::path(oracle.path).parent_path();
  std::vector<fs::path> folders;
  if (!photo_dir.empty())
    folders = {photo_dir};
  else
    folders = {beside / "photos", beside / ".." / "photos", beside / ".." / ".." / "photos"};
  for (const fs::path& folder : folders) {
    std::error_code error;
    if (fs::is_regular_file(folder / oracle.photo, error)) return (folder / oracle.photo).string();
  }
  fail("verify", "{}: no photograph {} in {}", oracle.path, oracle.photo, folders[0].string());
}

/// Our value of one of the file's quantities; undefined when there is none.
Tensor quantity(const std::string& name, const Tensor& input, const Features& features,
                const KeepAll& probe) {
  if (name == "input") return input;
  if (name == "cls") return features.cls.value();
  if (name == "last_attention_cls_to_patches") return features.attention;
  for (const RealQuantity& known : kQuantities) {
    if (known.path[0] == '\0' || name.compare(0, known.name.size(), known.name) != 0) continue;
    std::string path = known.path;
    if (path.back() == '.') {
      int count = 0;
      const std::string digits = name.substr(known.name.size());
      std::from_chars(digits.data(), digits.data() + digits.size(), count);
      path += fmt::format("{}", count - 1);
    }
    const auto found = probe.seen.find(path);
    return found == probe.seen.end() ? Tensor() : found->second;
  }
  return {};
}

double bound_of(const std::string& name) {
  for (const RealQuantity& known : kQuantities)
    if (name.compare(0, known.name.size(), known.name) == 0) return known.bound;
  return 0.0;
}

double passed_ms(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

VerifyReport verify_real(const std::string& json_path, const std::string& weights,
                         const std::string& photo_dir) {
  const RealOracle oracle = read_real_oracle(json_path);
  VerifyReport report;
  report.file = json_path;
  auto start = std::chrono::steady_clock::now();
  const LoadedModel loaded = load_model(weights);
  report.build_ms = passed_ms(start);
  report.family = loaded.model->family().name;
  report.naming = loaded.naming;

  const Image photo = read_image(find_photo(oracle, photo_dir), {.exif_orientation = false});
  const Image resized = pil_resize(photo, oracle.columns, oracle.rows, ResizeFilter::bicubic);
  const std::string sha256 = sha256_hex(resized.rgb);
  if (!oracle.resized_sha256.empty() && sha256 != oracle.resized_sha256)
    report.problems.push_back(
        fmt::format("the resized picture has SHA-256 {}, {} was expected", sha256, oracle.resized_sha256));
  Preprocess plain;  // ImageNet's mean and deviation; the picture has its size already
  plain.rows = oracle.rows;
  plain.columns = oracle.columns;
  plain.mode = Preprocess::Mode::squash;
  const Tensor input = preprocess(resized, plain);

  KeepAll probe;
  Context ctx;
  ctx.probe = &probe;
  start = std::chrono::steady_clock::now();
  const Features features =
      loaded.model->features(ctx, Var(input.reshaped({1, input.dim(0), input.dim(1), input.dim(2)})));
  report.forward_ms = passed_ms(start);
  for (const OracleTensor& want : oracle.tensors) {
    VerifyEntry entry{want.name == "input" ? "input" : "stage", want.name, 0.0, bound_of(want.name)};
    const Tensor got = quantity(want.name, input, features, probe);
    if (!got.defined())
      entry.problem = "the model shows no such value";
    else if (got.numel() != want.shape.numel())
      entry.problem = fmt::format("{} numbers, {} were expected", got.numel(), want.shape.numel());
    else
      entry.error = oracle_error(got.values(), want);
    report.entries.push_back(std::move(entry));
  }
  return report;
}

}  // namespace locant
