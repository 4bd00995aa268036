// The world of a job started by mpirun or srun.
#include "core/comm/basic_world.h"
#include "core/comm/mpi_transport.h"

namespace seq1f1b::comm {
namespace {

class MpiWorld final : public BasicWorld {
 public:
  explicit MpiWorld(std::unique_ptr<MpiTransport> transport)
      : BasicWorld(*transport), transport_(std::move(transport)) {}

  std::string description() const override { return "MPI"; }
  int local_rank() const override { return transport_->local_rank(); }
  int local_size() const override { return transport_->local_size(); }
  std::size_t library_bytes() const override {
    return transport_->start_up_bytes() + BasicWorld::library_bytes();
  }
  [[noreturn]] void abort(int exit_code) override { transport_->abort(exit_code); }

  void finalize() override {
    // MPI_Finalize could only say that somebody is missing, this says who.
    meet_all([] { return std::string("leaving the job"); });
    transport_->finish();
  }

 private:
  std::unique_ptr<MpiTransport> transport_;
};

}  // namespace

std::unique_ptr<World> connect_mpi(const WorldOptions& options) {
  return std::make_unique<MpiWorld>(std::make_unique<MpiTransport>(options));
}

}  // namespace seq1f1b::comm
