#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/tensor.h"
#include "io/image.h"
#include "segment/transforms.h"

namespace locant {

/// What an image encoder made of a picture.
struct PictureEmbedding {
  Tensor features;     ///< (1, C, rows, columns)
  ImageSize original;  ///< the picture, upright
  ImageSize input;     ///< resized, before padding
};

/// Names a picture by the bytes of its file: 64 hexadecimal digits of SHA-256. Nothing need be decoded for
/// it.
std::string picture_key(std::span<const std::uint8_t> file_bytes);
/// Names a picture by its pixels and sides, where there is no file; other than its file's key.
std::string picture_key(const Image& image);

/// What the embeddings of a cache have in common. An embedding made otherwise is not used.
struct EmbeddingOrigin {
  std::string model;       ///< model_identity() of the weights
  std::string model_name;  ///< for people: "sam_vit_b"
  std::int64_t image_size = 1024;
  SamNormalisation normalisation = {};
  bool exif_orientation = true;  ///< pictures are turned upright before they are resized
  Shape features;                ///< (1, C, rows, columns)
};

/// A folder of embeddings, one safetensors file a picture, named KEY.safetensors; the tensor "features", and
/// in the metadata the picture's key and sizes, the model's identity and name, and the preprocessing. Files
/// appear whole or not at all (write_file_atomically), so any number of processes may share the folder: who
/// writes last wins, with the same numbers.
class EmbeddingCache {
 public:
  /// Throws Error for an empty folder name or model identity, and features that are not (1, C, rows,
  /// columns).
  EmbeddingCache(std::string folder, EmbeddingOrigin origin);

  enum class State {
    absent,   ///< no file
    fresh,    ///< made by this model from this picture in this way
    refused,  ///< a file that is stale, foreign or damaged: `reason` says why
  };
  struct Lookup {
    State state = State::absent;
    std::string reason;          ///< one line; empty unless refused
    PictureEmbedding embedding;  ///< of find(), when fresh
  };

  /// KEY.safetensors in the folder. Throws Error unless the key is 64 hexadecimal digits.
  std::string path_of(const std::string& key) const;
  /// Looks at the header alone.
  Lookup check(const std::string& key) const;
  /// Reads it; the numbers are borrowed from the mapped file.
  Lookup find(const std::string& key) const;
  /// Writes it, over whatever is there; makes the folder when there is none. Throws Error for features of
  /// another shape, numbers that are not finite, and when the file cannot be written (nothing is left then).
  void store(const std::string& key, const PictureEmbedding& embedding) const;

 private:
  Lookup look(const std::string& key, bool read) const;
  std::string refusal(const std::string& key, const class TensorFile& file, PictureEmbedding& out) const;

  std::string folder_;
  EmbeddingOrigin origin_;
  std::string preprocess_;  ///< the origin's preprocessing as JSON text
};

}  // namespace locant
