#pragma once

#include <string>
#include <vector>

#include "models/classify.h"

namespace CLI {
class App;
}

namespace locant::cli {

/// --labels FILE.
void add_labels_option(CLI::App* sub, std::string& labels);
/// Class names in index order: a text file, one a line, or JSON, a list of texts or an object number -> name
/// (id2label, on its own or within). Throws Error.
std::vector<std::string> read_labels(const std::string& file);
/// read_labels. Throws Error unless there is one for each class.
void use_labels(LoadedModel& loaded, const std::string& file);
/// Square input of `size` pixels; a short side that was given in pixels keeps its ratio to the crop.
void set_input_size(Preprocess& preprocess, std::int64_t size);

/// Milliseconds of one picture; `load` is the model's.
struct AnswerTimes {
  double load = 0.0, preprocess = 0.0, inference = 0.0;
};

/// The picture's path, and a line a class.
std::string answer_text(const std::string& path, const Prediction& prediction);
/// picture,rank,index,label,probability,error: a line a class, the last field empty.
std::string answer_csv(const std::string& path, const Prediction& prediction);
std::string answer_csv_heading();
/// A line with the picture and the error alone.
std::string answer_error_csv(const std::string& path, const std::string& error);
/// {"picture", how the model was read (loaded_json), "activation": "softmax" or "sigmoid", "top": [{"index",
/// "label", "probability"}], "load_ms", "preprocess_ms", "inference_ms"}, a line; where the head gives values
/// the activation is "none", and "value" stands instead of "probability".
std::string answer_json(const std::string& path, const LoadedModel& loaded, const Prediction& prediction,
                        const AnswerTimes& times);
/// {"picture", "error"}, a line.
std::string answer_error_json(const std::string& path, const std::string& error);

}  // namespace locant::cli
