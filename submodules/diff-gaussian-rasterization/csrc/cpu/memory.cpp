// Whether a function called before on this thread found no memory, so that what it wrote is not whole.
#include "parallel.h"

GS_EXPORT int64_t gs_no_memory() {
    const bool lacked = gs::no_memory();
    gs::no_memory() = false;
    return lacked;
}
