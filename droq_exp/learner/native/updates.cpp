// What Python calls of it all. It is one source, for both parts need the same loops over a layer's rows, and these are
// most of what there is to compile.
#include "actor.h"
#include "critic_updates.h"

extern "C" {

int max_threads() { return omp_get_max_threads(); }

int64_t target_inputs_workspace(const TargetInputsCall* call) { return TargetInputs<SCALAR>(*call).workspace(); }
void target_inputs(const TargetInputsCall* call) { TargetInputs<SCALAR>(*call).run(); }
int64_t policy_update_workspace(const PolicyCall* call) { return PolicyUpdate<SCALAR>(*call).workspace(); }
void policy_update(const PolicyCall* call) { PolicyUpdate<SCALAR>(*call).run(); }
int64_t critic_updates_workspace(const CriticCall* call) { return CriticUpdates<SCALAR>(*call).workspace(); }
void critic_updates(const CriticCall* call) { CriticUpdates<SCALAR>(*call).run(); }

}  // extern "C"
