#include "segment/embedding_cache.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "core/finite.h"
#include "core/sha256.h"
#include "io/tensor_file.h"

namespace locant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEmbeddingCacheOp = "embedding_cache";
constexpr const char* kFormatKey = "locant.embedding";
constexpr const char* kFormat = "2";
constexpr const char* kPictureKey = "locant.embedding.picture";
constexpr const char* kModelKey = "locant.embedding.model";
constexpr const char* kNameKey = "locant.embedding.model_name";
constexpr const char* kPreprocessKey = "locant.embedding.preprocess";
constexpr const char* kOriginalKey = "locant.embedding.original";
constexpr const char* kInputKey = "locant.embedding.input";
constexpr const char* kTensor = "features";

std::string size_text(ImageSize size) { return fmt::format("{} {}", size.rows, size.columns); }

/// "rows columns"; 0 x 0 for anything else.
ImageSize parse_size(const std::string& text) {
  ImageSize size;
  const char* end = text.data() + text.size();
  const auto rows = std::from_chars(text.data(), end, size.rows);
  if (rows.ec != std::errc() || rows.ptr == end || *rows.ptr != ' ') return {};
  const auto columns = std::from_chars(rows.ptr + 1, end, size.columns);
  return columns.ec == std::errc() && columns.ptr == end ? size : ImageSize{};
}

std::string value_of(const TensorFile& file, const char* key) {
  const auto it = file.metadata().find(key);
  return it == file.metadata().end() ? std::string() : it->second;
}

/// "sam_vit_b, 0123456789ab...", of a model without a name its identity alone.
std::string named(const std::string& name, const std::string& identity) {
  return fmt::format("{}{}{}...", name, name.empty() ? "" : ", ", identity.substr(0, 12));
}

}  // namespace

std::string picture_key(std::span<const std::uint8_t> file_bytes) { return sha256_hex(file_bytes); }

std::string picture_key(const Image& image) {
  const std::string text = fmt::format("rgb {} {} {}", image.rows, image.columns, sha256_hex(image.rgb));
  return sha256_hex({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

EmbeddingCache::EmbeddingCache(std::string folder, EmbeddingOrigin origin)
    : folder_(std::move(folder)), origin_(std::move(origin)) {
  require(!folder_.empty(), kEmbeddingCacheOp, "no folder is named");
  require(!origin_.model.empty(), kEmbeddingCacheOp, "{}: the model has no identity", folder_);
  require(origin_.features.rank() == 4 && origin_.features[0] == 1 && origin_.features.numel() > 0,
          kEmbeddingCacheOp, "{}: features of shape {}: (1, C, rows, columns) is expected", folder_,
          origin_.features.str());
  const SamNormalisation& n = origin_.normalisation;
  preprocess_ = fmt::format(
      R"({{"resize":"longest_side","filter":"bilinear","image_size":{},"mean":[{}],"std":[{}],"exif_orientation":{}}})",
      origin_.image_size, fmt::join(n.mean, ","), fmt::join(n.std, ","), origin_.exif_orientation);
}

std::string EmbeddingCache::path_of(const std::string& key) const {
  const bool digits = std::all_of(key.begin(), key.end(),
                                  [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  require(key.size() == 64 && digits, kEmbeddingCacheOp, "\"{}\" is no picture key: 64 hexadecimal digits",
          key.substr(0, 80));
  return (fs::path(folder_) / (key + ".safetensors")).string();
}

EmbeddingCache::Lookup EmbeddingCache::check(const std::string& key) const { return look(key, false); }

EmbeddingCache::Lookup EmbeddingCache::find(const std::string& key) const { return look(key, true); }

EmbeddingCache::Lookup EmbeddingCache::look(const std::string& key, bool read) const {
  const std::string path = path_of(key);
  std::error_code error;
  if (!fs::exists(fs::status(path, error))) return {};  // nor behind a link that leads nowhere
  Lookup out;
  try {
    const std::unique_ptr<TensorFile> file = open_tensor_file(path);
    out.reason = refusal(key, *file, out.embedding);
    if (out.reason.empty() && read) {
      out.embedding.features = file->read(kTensor);
      const std::string bad = not_finite(out.embedding.features);
      if (!bad.empty()) out.reason = fmt::format("it holds {}: it is damaged", bad);
    }
  } catch (const Error& damaged) {
    // Another process may have taken it away since.
    if (!fs::exists(fs::status(path, error))) return {};
    out.reason = fmt::format("it cannot be read: {}", damaged.what());
  }
  if (out.reason.empty()) {
    out.state = State::fresh;
  } else {
    out.state = State::refused;
    out.embedding = {};
    out.reason = fmt::format("{}: {}", path, out.reason);
  }
  return out;
}

/// Why the file is of no use, empty when it is; fills the sizes.
std::string EmbeddingCache::refusal(const std::string& key, const TensorFile& file,
                                    PictureEmbedding& out) const {
  const std::string format = value_of(file, kFormatKey), model = value_of(file, kModelKey);
  if (format.empty()) return "is no embedding: its metadata has none of our entries";
  if (format != kFormat) return fmt::format("has format {}; this version reads format {}", format, kFormat);
  const std::string picture = value_of(file, kPictureKey);
  if (picture != key) return fmt::format("belongs to another picture, {}: the file was renamed", picture);
  if (model != origin_.model)
    return fmt::format("was made by other weights ({}) than these ({})",
                       named(value_of(file, kNameKey), model), named(origin_.model_name, origin_.model));
  const std::string preprocess = value_of(file, kPreprocessKey);
  if (preprocess != preprocess_)
    return fmt::format("its picture was prepared otherwise: {} where {} is expected", preprocess,
                       preprocess_);
  const TensorInfo* info = file.find(kTensor);
  if (info == nullptr) return fmt::format("has no tensor \"{}\"", kTensor);
  if (info->shape != origin_.features || info->dtype != DType::f32)
    return fmt::format("has features of shape {} {} where {} F32 is expected", info->shape.str(),
                       dtype_name(info->dtype), origin_.features.str());
  out.original = parse_size(value_of(file, kOriginalKey));
  out.input = parse_size(value_of(file, kInputKey));
  const bool sizes = out.original.rows >= 1 && out.original.columns >= 1;
  if (!sizes || ResizeLongestSide(origin_.image_size).target_size(out.original) != out.input)
    return fmt::format("its sizes do not go together: \"{}\" and \"{}\"", value_of(file, kOriginalKey),
                       value_of(file, kInputKey));
  return {};
}

void EmbeddingCache::store(const std::string& key, const PictureEmbedding& embedding) const {
  const std::string path = path_of(key);
  require(embedding.features.defined() && embedding.features.shape() == origin_.features, kEmbeddingCacheOp,
          "features of shape {} where {} is expected", embedding.features.shape().str(),
          origin_.features.str());
  const std::string bad = not_finite(embedding.features);
  require(bad.empty(), kEmbeddingCacheOp, "the features hold {}: nothing can be answered from them", bad);
  require(ResizeLongestSide(origin_.image_size).target_size(embedding.original) == embedding.input,
          kEmbeddingCacheOp, "an input of {} x {} pixels does not belong to a picture of {} x {}",
          embedding.input.columns, embedding.input.rows, embedding.original.columns, embedding.original.rows);
  std::error_code error;
  fs::create_directories(folder_, error);
  require(!error, ErrorKind::system, kEmbeddingCacheOp, "{}: the folder cannot be made: {}", folder_,
          error.message());
  write_safetensors(path, {{kTensor, embedding.features}},
                    {{kFormatKey, kFormat},
                     {kPictureKey, key},
                     {kModelKey, origin_.model},
                     {kNameKey, origin_.model_name},
                     {kPreprocessKey, preprocess_},
                     {kOriginalKey, size_text(embedding.original)},
                     {kInputKey, size_text(embedding.input)}});
}

}  // namespace locant
