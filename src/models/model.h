#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/config_json.h"
#include "models/values.h"
#include "nn/weights.h"
#include "position/grid.h"

namespace locant {

struct Family;

/// What a picture, or a clip of them, looks like to a model before its head.
struct Features {
  /// The tokens of one resolution.
  struct Level {
    Var tokens = {};  ///< (B, rows * columns, C), row-major; of a clip (B, frames * rows * columns, C)
    Grid grid = {};   ///< of the tokens
    std::int64_t stride = 0;  ///< pixels of the picture a token, along a side
  };
  std::vector<Level> levels = {};  ///< finest first; the last is normed, and all that a plain transformer has
  Var cls = {};  ///< (B, C): class token, or the mean of the patches where the model has none; normed
  /// (B, H, rows * columns): class token to patches in the last layer; undefined without one
  Tensor attention = {};

  const Level& last() const { return levels.back(); }
};

/// A model. Computing is const and safe from several threads on one model while nothing is recorded; who
/// records (a Context with a tape) has the model's gradients to himself.
class Model {
 public:
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  /// Its name, variants, file names and all else that does not depend on the numbers.
  const Family& family() const { return family_; }
  /// The configuration as a JSON object; make_model(family().name, config()) builds the same model again.
  virtual std::string config() const = 0;
  /// 0 without a head.
  virtual std::int64_t num_classes() const { return 0; }

  /// What run() takes and gives, the first of each being what forward() takes and gives.
  virtual std::vector<Port> inputs() const = 0;
  virtual std::vector<Port> outputs() const = 0;
  /// Whether its first input is what a Preprocess makes of pictures, or of the frames of clips.
  bool sees() const;
  /// Throws Error when an input does not fit its port.
  Values run(const Context& ctx, const Values& inputs) const;
  /// Of its first input alone, the first output.
  virtual Var forward(const Context& ctx, const Var& input) const;
  /// Throws Error for a model that is not of pictures.
  virtual Features features(const Context& ctx, const Var& images) const;

  /// In the order of the constructor's requests. Undefined values where inference keeps a packed form only.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// Learned numbers in all of them, as papers and libraries count them: no running statistics.
  std::int64_t num_parameters() const;

 protected:
  explicit Model(const Family& family) : family_(family) {}
  virtual Values compute(const Context& ctx, const Values& inputs) const = 0;
  const char* op() const;

 private:
  friend std::unique_ptr<Model> build_model(const Family& family, const std::string& config,
                                            const Weights& weights);
  const Family& family_;
  std::vector<Parameter> parameters_;
};

/// A model with a configuration: what `fields` lists.
template <class C>
class ModelOf : public Model {
 public:
  using Config = C;
  std::string config() const override { return write_config(config_); }
  std::int64_t num_classes() const override { return classes_of(config_); }
  const C& options() const { return config_; }

  /// Of a configuration that has the field, itself or in `input`.
  static std::int64_t classes_of(const C& c) {
    if constexpr (requires { c.num_classes; })
      return c.num_classes;
    else if constexpr (requires { c.input.num_classes; })
      return c.input.num_classes;
    else
      return 0;
  }

 protected:
  ModelOf(const Family& family, C config) : Model(family), config_(std::move(config)) {}
  const C& c() const { return config_; }

 private:
  C config_;
};

/// Pictures (B, C, H, W), normalised as the checkpoint wants them, to one answer: logits (B, classes), or
/// what the family says where it has no head.
template <class C>
class ImageModelOf : public ModelOf<C> {
 public:
  std::vector<Port> inputs() const override { return {{"images", "B C H W", "normalised pictures"}}; }
  std::vector<Port> outputs() const override { return {{"output", "", "logits (B, classes), or features"}}; }
  Var forward(const Context& ctx, const Var& images) const override = 0;

 protected:
  using ModelOf<C>::ModelOf;
  Values compute(const Context& ctx, const Values& in) const override {
    return {{"output", forward(ctx, in.at("images"))}};
  }
};

}  // namespace locant
