// libFuzzer target: names and shapes that are nearly a model's. Two bytes choose a tiny model of the zoo, one
// a naming, one a prefix; then every four bytes change the list. Anything but an answer or an Error is a bug.
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/registry.h"
#include "models/tell.h"
#include "tests/support/tiny_models.h"

namespace {

using namespace locant;

class Listed final : public TensorFile {
 public:
  explicit Listed(std::vector<TensorInfo> tensors) : tensors_(std::move(tensors)) {}
  const std::string& path() const override { return text_; }
  const std::string& format() const override { return text_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::vector<std::string>& notes() const override { return notes_; }
  Tensor read(const std::string& name) const override { fail("fuzz", "{} has no numbers", name); }
  void release(const std::string&) const override {}

 private:
  std::vector<TensorInfo> tensors_;
  std::string text_ = "fuzz";
  std::map<std::string, std::string> metadata_;
  std::vector<std::string> notes_;
};

/// The files of tiny models that shapes tell, by naming.
struct Known {
  const Renames* renames;
  std::vector<Parameter> parameters;
};

const std::vector<Known>& known() {
  static const std::vector<Known> all = [] {
    std::vector<Known> out;
    for (const testing::Tiny& tiny : testing::tiny_zoo()) {
      if (tiny.family->from_shapes == nullptr) continue;
      for (const Renames& renames : renames_of(tiny.family->name)) {
        if (!renames.suits(tiny.config)) continue;
        out.push_back({&renames, model_parameters(tiny.family->name, renames.configure(tiny.config))});
      }
    }
    return out;
  }();
  return all;
}

std::vector<TensorInfo> listed(const Known& model, const std::string& prefix) {
  std::vector<TensorInfo> out;
  for (const Parameter& parameter : model.parameters)
    for (const SourcePiece& piece : model.renames->to_library(parameter.name, parameter.shape)) {
      std::vector<std::int64_t> extents(parameter.shape.extents().begin(), parameter.shape.extents().end());
      if (piece.rows > 0) extents[0] = piece.rows;
      out.push_back({prefix + piece.name, DType::f32, Shape(extents), 0, {}});
    }
  return out;
}

void change(std::vector<TensorInfo>& tensors, const std::uint8_t* op) {
  static constexpr std::array<std::int64_t, 8> kExtents = {0,  1,    3,       24,
                                                           49, 1000, 1 << 20, std::int64_t{1} << 40};
  if (tensors.empty()) return;
  TensorInfo& tensor = tensors[(op[1] + 256u * op[2]) % tensors.size()];
  std::vector<std::int64_t> extents(tensor.shape.extents().begin(), tensor.shape.extents().end());
  const std::size_t axis = extents.empty() ? 0 : op[3] % extents.size();
  switch (op[0] % 8) {
    case 0:
      tensors.erase(tensors.begin() + (&tensor - tensors.data()));
      return;
    case 1:
      if (!extents.empty()) extents[axis] = kExtents[op[3] / 8 % kExtents.size()];
      break;
    case 2:
      if (!extents.empty()) extents[axis] += 1 + op[3] / 8;
      break;
    case 3:
      extents.insert(extents.begin(), 1);
      break;
    case 4:
      if (!extents.empty()) extents.erase(extents.begin() + static_cast<std::ptrdiff_t>(axis));
      break;
    case 5:
      tensor.name[op[3] % tensor.name.size()] = static_cast<char>('0' + op[3] % 75);
      return;
    case 6:
      tensor.name += op[3] % 2 == 0 ? ".weight" : ".0";
      return;
    default: {  // a second one of a number that none has
      TensorInfo copy = tensor;
      const std::size_t digit = copy.name.find_first_of("0123456789");
      if (digit != std::string::npos) copy.name.insert(digit, 1, static_cast<char>('0' + op[3] % 10));
      tensors.push_back(std::move(copy));
      return;
    }
  }
  if (extents.size() > 6) return;
  std::int64_t product = 1;
  for (const std::int64_t extent : extents)
    product = extent > (std::int64_t{1} << 41) / std::max<std::int64_t>(product, 1) ? -1 : product * extent;
  if (product >= 0) tensor.shape = Shape(extents);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  static constexpr std::array<const char*, 4> kPrefixes = {"", "module.", "state_dict.model.",
                                                           "teacher.backbone."};
  const Known& model = known()[(data[0] + 256u * data[1]) % known().size()];
  std::vector<TensorInfo> tensors = listed(model, kPrefixes[data[2] % kPrefixes.size()]);
  for (std::size_t at = 4; at + 4 <= size && at < 4 * 16; at += 4) change(tensors, data + at);
  const Listed file(std::move(tensors));
  try {
    const TensorIndex index(file);
    tell(index);
  } catch (const Error&) {
  }
  return 0;
}
