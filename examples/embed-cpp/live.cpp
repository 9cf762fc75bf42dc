// Trains a network while threads answer with the latest state of it: live MODEL NEW_MODEL.
// It learns to tell whether its first two inputs have the same sign.
#include <chainrule/model.h>

#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

using Model = chainrule::Model<float>;

// The model in service. Whoever has taken it keeps it, also when a newer one is put here.
class InService {
 public:
  explicit InService(std::shared_ptr<const Model> model) : model_(std::move(model)) {}
  std::shared_ptr<const Model> get() const {
    const std::lock_guard lock(mutex_);
    return model_;
  }
  void put(std::shared_ptr<const Model> model) {
    const std::lock_guard lock(mutex_);
    model_.swap(model);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Model> model_;
};

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s model.safetensors new.safetensors\n", argv[0]);
    return 2;
  }
  Model trained = Model::load(argv[1]);
  InService service(std::make_shared<const Model>(Model::load(argv[1])));

  std::atomic<bool> done{false};
  std::atomic<long> answers{0};
  const auto answer = [&] {
    auto model = service.get();
    auto scratch = model->scratch();  // one a thread; all models here have one architecture
    const std::vector<float> x(model->n_inputs(), 0.5f);
    std::vector<float> a(model->n_outputs());
    do {
      model = service.get();
      if (model->predict(x, a, scratch)) ++answers;
    } while (!done);
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) threads.emplace_back(answer);

  constexpr std::size_t kRows = 64;
  std::vector<float> x(kRows * trained.n_inputs()), y(kRows * trained.n_outputs());
  std::mt19937 draw(0);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (int step = 0; step < 2000; ++step) {
    for (float& value : x) value = uniform(draw);
    for (std::size_t i = 0; i < kRows; ++i) {
      const float* const row = &x[i * trained.n_inputs()];
      y[i * trained.n_outputs()] = row[0] * row[1] > 0 ? 1.0f : 0.0f;
    }
    const double cost = trained.train_step(x, y, 0.5);
    if (step % 200 != 199) continue;
    std::printf("step %d: cost %.4f\n", step + 1, cost);
    Model copy = Model::load(argv[1]);
    copy.set_parameters(trained.parameters());
    service.put(std::make_shared<const Model>(std::move(copy)));
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  trained.save(argv[2]);
  std::printf("%ld answers meanwhile\n", answers.load());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
