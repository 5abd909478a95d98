#include "worker.h"
bool cfp_retention_step(DateADT closed) { return false; }
