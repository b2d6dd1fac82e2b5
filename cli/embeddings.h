#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cli/cli.h"
#include "io/image.h"
#include "io/mapped_file.h"
#include "models/sam.h"
#include "segment/embedding_cache.h"

namespace CLI {
class App;
}

namespace locant::cli {

/// What `segment` and `embed` share.
struct EmbeddingOptions {
  std::string weights, model, cache;
  std::int64_t image_size = 0;  ///< 0: the checkpoint's
  bool no_cache = false;
  DecodeOptions decode;
};
void add_embedding_options(CLI::App* sub, EmbeddingOptions& options);
/// The same with the checkpoint's image size where none was given. Throws Error when it cannot be told.
EmbeddingOptions with_image_size(EmbeddingOptions options);

/// A picture's file, and the name that its bytes give it in a cache. Nothing is decoded before somebody
/// looks.
class PictureFile {
 public:
  /// Throws Error. "-": standard input; a FIFO is read to its end. Pages and ways from 16 bits to 8 have keys
  /// of their own.
  explicit PictureFile(const std::string& path, const DecodeOptions& decode = {});
  const std::string& path() const { return path_; }
  const std::string& key() const { return key_; }
  /// Throws Error when it is no picture.
  const Image& image() const;
  /// Names what is seen, however the file stores it.
  std::string pixels_key() const { return picture_key(image()); }

 private:
  std::string path_, key_;
  DecodeOptions decode_;
  std::shared_ptr<const MappedFile> file_;  // null: decoded from the start
  mutable std::optional<Image> image_;
};

/// What to do where the cache cannot be used: it is full, read-only or has no place.
enum class CacheUse {
  helps,  ///< one warning, and every picture is encoded
  needed  ///< Error: the cache is what the command is for
};

/// Embeddings of pictures: from the cache, or made and kept there. The model is loaded when something has to
/// be made, or asked.
class Embeddings {
 public:
  using Line = std::function<void(const std::string&)>;
  /// Both options must outlive it; `line` gets what people should know. Reads the weights' file whole to know
  /// them by, unless the cache remembers it. Throws Cancelled on Ctrl-C meanwhile.
  Embeddings(const EmbeddingOptions& options, const GlobalOptions& globals, CacheUse use, Line line);

  /// What the cache holds, if that is of this model and preprocessing; a line says why it is not used.
  /// `read`: with its numbers.
  std::optional<PictureEmbedding> find(const PictureFile& picture, bool read = true) const;
  /// Encodes the picture. Throws Error that names it; and when the model cannot be loaded.
  PictureEmbedding encode(const PictureFile& picture);
  /// Puts what encode() made into the cache. Throws Error where that is needed and cannot be.
  void keep(const PictureFile& picture, const PictureEmbedding& embedding);
  /// The file in the cache; empty without one.
  std::string path_of(const PictureFile& picture) const;
  /// The whole, or without the image encoder where that is not loaded yet. Throws Error.
  const LoadedSam& model(Sam::Parts parts);

 private:
  std::string identity(const std::string& folder);
  void not_kept(const std::string& reason);

  const EmbeddingOptions& options_;
  const GlobalOptions& globals_;
  CacheUse use_;
  Line line_;
  std::optional<EmbeddingCache> cache_;
  bool keeps_ = true;    ///< what is made goes into the cache
  bool warned_ = false;  ///< that it does not
  LoadedSam loaded_;
};

}  // namespace locant::cli
