#include "cli/segment_logits.h"

#include <algorithm>

#include "cli/outputs.h"
#include "core/error.h"
#include "core/finite.h"
#include "io/tensor_file.h"

namespace locant::cli {
namespace {

constexpr const char* kOp = "segment";
constexpr const char* kPicture = "picture";
constexpr const char* kPixelsKey = "picture.pixels";
constexpr const char* kLowRes = "low_res_logits";
constexpr const char* kLogits = "logits";
constexpr const char* kIou = "iou_predictions";

std::string value_of(const TensorFile& file, const char* key) {
  const auto it = file.metadata().find(key);
  return it == file.metadata().end() ? std::string() : it->second;
}

Tensor read_finite(const TensorFile& file, const char* name) {
  Tensor out = file.read(name);
  const std::string bad = not_finite(out);
  require(bad.empty(), kOp, "{}: {} holds {}; logits are finite numbers", file.path(), name, bad);
  return out;
}

}  // namespace

void write_logits(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& logits,
                  const PictureFile& picture) {
  save_safetensors(path, logits, {{kPicture, printable(picture.path())}, {kPixelsKey, picture.pixels_key()}});
}

MaskPrompt read_mask_prompt(const std::string& path) {
  const std::unique_ptr<TensorFile> file = open_tensor_file(path);
  require(file->find(kLowRes) != nullptr && file->find(kIou) != nullptr, kOp,
          "{}: no {} of one prompt; a file that --logits wrote was expected", path, kLowRes);
  const Tensor logits = read_finite(*file, kLowRes), iou = read_finite(*file, kIou);
  const Shape& s = logits.shape();
  require(s.rank() == 4 && s[0] == 1 && s[1] >= 1 && s[2] == s[3] && iou.numel() == s[1], kOp,
          "{}: {} of shape {}; (1, masks, side, side) was expected", path, kLowRes, s.str());
  const auto best = std::max_element(iou.values().begin(), iou.values().end()) - iou.values().begin();
  MaskPrompt out{.logits = Tensor({s[2], s[3]}),
                 .picture = value_of(*file, kPicture),
                 .key = value_of(*file, kPixelsKey),
                 .size = {}};
  std::copy_n(logits.data() + best * out.logits.numel(), out.logits.numel(), out.logits.data());
  // The large logits have the picture's sides.
  if (const TensorInfo* whole = file->find(kLogits); whole != nullptr && whole->shape.rank() == 4)
    out.size = {whole->shape[2], whole->shape[3]};
  return out;
}

std::string foreign(const MaskPrompt& mask, const PictureFile& picture) {
  const ImageSize size{picture.image().rows, picture.image().columns};
  const std::string name = mask.picture.empty() ? "" : fmt::format(" ({})", mask.picture);
  if (mask.size.rows > 0 && mask.size != size)
    return fmt::format("was made from another picture{}, of {} x {} pixels; this one has {} x {}", name,
                       mask.size.columns, mask.size.rows, size.columns, size.rows);
  if (mask.key.empty()) return "does not say which picture it was made from";
  if (mask.key != picture.pixels_key()) return fmt::format("was made from another picture{}", name);
  return {};
}

}  // namespace locant::cli
