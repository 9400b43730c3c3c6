/* Prints the offsets, sizes and enum values that `cargo xtask codegen` asks for, from the headers of a server. */
#include "postgres.h"

#include <stddef.h>
#include <stdio.h>

#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "executor/instrument.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "pgstat.h"
#if PG_VERSION_NUM >= 180000
#include "storage/aio_internal.h"
#endif
#include "storage/buf_internals.h"
#include "storage/lock.h"
#include "storage/proc.h"
#if PG_VERSION_NUM >= 140000
#include "utils/backend_status.h"
#endif

#undef printf
#define ITEM(name, value) printf("%s %lu\n", name, (unsigned long) (value))

int
main(void)
{
#line 1 "items"
@ITEMS@
	return 0;
}
