//! The one offset table: every field of the kernel and of Postgres that is read in foreign memory, by name.
//!
//! rustc emits no CO-RE relocations, so the same property is had at load time: userspace resolves each entry (the kernel's
//! from BTF, Postgres's from the layout of its major version after a check against live memory), writes the result into
//! `.rodata`, and the verifier sees constants. An entry that cannot be resolved is [`ABSENT`], and the code that needs it
//! is dead code to the verifier.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Offset of a field that does not exist here.
pub const ABSENT: u32 = u32::MAX;

/// One named field of a foreign struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name of the entry in the table.
    pub name: &'static str,
    /// The C struct or typedef.
    pub of: &'static str,
    /// Paths to try in order, members separated by dots (renames across versions).
    pub paths: &'static [&'static str],
}

macro_rules! table {
    ($(#[$doc:meta])* $table:ident, $list:ident { $($(#[$fdoc:meta])* $name:ident: $of:literal, [$($path:literal),+];)+ }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $table { $($(#[$fdoc])* pub $name: u32,)+ }

        /// The entries of the table, in the order of its fields.
        pub const $list: &[Field] = &[$(Field { name: stringify!($name), of: $of, paths: &[$($path),+] },)+];

        impl $table {
            /// Nothing is resolved.
            pub const UNRESOLVED: Self = Self { $($name: ABSENT,)+ };

            /// Asks `offset_of` for each entry in turn.
            pub fn resolve(mut offset_of: impl FnMut(&Field) -> Option<u32>) -> Self {
                let mut list = $list.iter();
                Self { $($name: list.next().and_then(&mut offset_of).unwrap_or(ABSENT),)+ }
            }
        }
    };
}

table! {
    /// Byte offsets in kernel structs, from BTF.
    KernelFields, KERNEL_FIELDS {
        task_pid: "task_struct", ["pid"];
        task_tgid: "task_struct", ["tgid"];
        task_thread_pid: "task_struct", ["thread_pid"];
        pid_level: "pid", ["level"];
        /// One `upid` for each pid namespace from the outermost on.
        pid_numbers: "pid", ["numbers"];
        task_exit_code: "task_struct", ["exit_code"];
        /// 5.14 renamed it; the low 32 bits are what is read.
        task_state: "task_struct", ["__state", "state"];
        /// Page faults so far: served from memory, and from a disk.
        task_min_flt: "task_struct", ["min_flt"];
        task_maj_flt: "task_struct", ["maj_flt"];
        /// Cumulative time on a run queue without running, in nanoseconds (`CONFIG_SCHED_INFO`).
        task_run_delay: "task_struct", ["sched_info.run_delay"];
        /// When it was last given a CPU, by the scheduler's clock in nanoseconds (`CONFIG_SCHED_INFO`).
        task_last_arrival: "task_struct", ["sched_info.last_arrival"];
        /// CPU time so far in nanoseconds, without interrupts and stolen time where the kernel keeps account of them.
        task_exec_runtime: "task_struct", ["se.sum_exec_runtime"];
        task_flags: "task_struct", ["flags"];
        /// A bit; see `Settings::in_iowait`.
        task_in_iowait: "task_struct", ["in_iowait"];
        /// A bit; see `Settings::frozen`.
        task_frozen: "task_struct", ["frozen"];
        task_stack: "task_struct", ["stack"];
        /// Run queue of its cgroup on its CPU (`CONFIG_FAIR_GROUP_SCHED`).
        task_cfs_rq: "task_struct", ["se.cfs_rq"];
        /// Above 0 while that cgroup, or one above it, is out of CPU time (`CONFIG_CFS_BANDWIDTH`).
        cfs_rq_throttle_count: "cfs_rq", ["throttle_count"];
        task_group: "task_struct", ["sched_task_group"];
        /// In how many periods the group ran out of its CPU quota.
        group_throttles: "task_group", ["cfs_bandwidth.nr_throttled"];
        /// The group above; 0 for the root.
        group_parent: "task_group", ["parent"];
        task_files: "task_struct", ["files"];
        task_mm: "task_struct", ["mm"];
        mm_arg_start: "mm_struct", ["arg_start"];
        files_fdt: "files_struct", ["fdt"];
        fdtable_fd: "fdtable", ["fd"];
        fdtable_max_fds: "fdtable", ["max_fds"];
        file_dentry: "file", ["f_path.dentry"];
        file_flags: "file", ["f_flags"];
        file_inode: "file", ["f_inode"];
        inode_mode: "inode", ["i_mode"];
        file_position: "file", ["f_pos"];
        inode_size: "inode", ["i_size"];
        inode_super_block: "inode", ["i_sb"];
        super_block_device: "super_block", ["s_dev"];
        /// 32 bits of hash below 32 bits of length.
        dentry_name_hash: "dentry", ["d_name.hash_len"];
        bio_flags: "bio", ["bi_opf"];
        bio_bytes: "bio", ["bi_iter.bi_size"];
        /// The block device; before 5.12 the disk.
        bio_device: "bio", ["bi_bdev", "bi_disk"];
        dentry_parent: "dentry", ["d_parent"];
        dentry_name: "dentry", ["d_name.name"];
        socket_sk: "socket", ["sk"];
        /// User registers at the kernel entry, x86-64.
        regs_si: "pt_regs", ["si"];
        regs_dx: "pt_regs", ["dx"];
        regs_r10: "pt_regs", ["r10"];
        regs_orig_ax: "pt_regs", ["orig_ax"];
        msghdr_iter_count: "msghdr", ["msg_iter.count"];
        /// The flusher's work on one device, for one cgroup (fs/fs-writeback.c).
        wb_bdi: "bdi_writeback", ["bdi"];
        wb_memcg_css: "bdi_writeback", ["memcg_css"];
        /// `major:minor` as text, on most file systems.
        bdi_dev_name: "backing_dev_info", ["dev_name"];
        css_cgroup: "cgroup_subsys_state", ["cgroup"];
        cgroup_kn: "cgroup", ["kn"];
        kernfs_id: "kernfs_node", ["id"];
        work_nr_pages: "wb_writeback_work", ["nr_pages"];
        work_reason: "wb_writeback_work", ["reason"];
        /// What `balance_dirty_pages` goes by, in pages (mm/page-writeback.c).
        dtc_dirty: "dirty_throttle_control", ["dirty"];
        dtc_thresh: "dirty_throttle_control", ["thresh"];
        dtc_bg_thresh: "dirty_throttle_control", ["bg_thresh"];
        dtc_wb_dirty: "dirty_throttle_control", ["wb_dirty"];
        dtc_wb_thresh: "dirty_throttle_control", ["wb_thresh"];
    }
}

table! {
    /// Byte offsets in structs of the block layer, from BTF. Not every kernel has all of them.
    BlockFields, BLOCK_FIELDS {
        request_queue: "request", ["q"];
        request_context: "request", ["mq_hctx"];
        request_flags: "request", ["cmd_flags"];
        request_bytes: "request", ["__data_len"];
        request_bio: "request", ["bio"];
        /// The first of those that are not complete yet, of 512 bytes each.
        request_sector: "request", ["__sector"];
        /// When it was made, `CLOCK_MONOTONIC`: filled where the device keeps statistics.
        request_started: "request", ["start_time_ns"];
        /// Up to 5.16.
        request_disk: "request", ["rq_disk"];
        /// From 5.14 on.
        queue_disk: "request_queue", ["disk"];
        disk_major: "gendisk", ["major"];
        disk_minor: "gendisk", ["first_minor"];
        bio_flags: "bio", ["bi_opf"];
        bio_bytes: "bio", ["bi_iter.bi_size"];
        /// Up to 5.11.
        bio_disk: "bio", ["bi_disk"];
        bio_part: "bio", ["bi_bdev"];
        part_disk: "block_device", ["bd_disk"];
        /// `CONFIG_BLK_CGROUP`.
        bio_group: "bio", ["bi_blkg"];
        group_cgroup: "blkcg_gq", ["blkcg"];
        blkcg_cgroup: "blkcg", ["css.cgroup"];
        cgroup_node: "cgroup", ["kn"];
        /// Inode number of its directory.
        node_id: "kernfs_node", ["id"];
    }
}

table! {
    /// Byte offsets in Postgres structs, from the layout of the major version.
    PgFields, PG_FIELDS {
        status_state: "PgBackendStatus", ["st_state"];
        status_pid: "PgBackendStatus", ["st_procpid"];
        /// Pointer to the application name.
        status_appname: "PgBackendStatus", ["st_appname"];
        /// Pointer to the activity string.
        status_activity: "PgBackendStatus", ["st_activity_raw", "st_activity"];
        /// 14 and later.
        status_query_id: "PgBackendStatus", ["st_query_id"];
        status_ssl: "PgBackendStatus", ["st_ssl"];
        /// The wait event before `my_wait_event_info` (14).
        proc_wait_event: "PGPROC", ["wait_event_info"];
        proc_pid: "PGPROC", ["pid"];
        /// 13 to 17 in `Port`.
        port_database_name: "Port", ["database_name"];
        port_user_name: "Port", ["user_name"];
    }
}

table! {
    /// Byte offsets in Postgres structs that only userspace reads: the kernel side does without them. Each use
    /// carries its own proof (see postgres/locks.rs and postgres/catalog), so that no check before the profile is needed.
    UserFields, USER_FIELDS {
        /// Odd while the entry is being changed.
        status_changecount: "PgBackendStatus", ["st_changecount"];
        proc_links: "PGPROC", ["links"];
        proc_wait_lock: "PGPROC", ["waitLock"];
        proc_wait_lock_mode: "PGPROC", ["waitLockMode"];
        /// 14 and later.
        proc_wait_start: "PGPROC", ["waitStart"];
        lock_field1: "LOCK", ["tag.locktag_field1"];
        lock_field2: "LOCK", ["tag.locktag_field2"];
        lock_type: "LOCK", ["tag.locktag_type"];
        lock_method: "LOCK", ["tag.locktag_lockmethodid"];
        lock_grant_mask: "LOCK", ["grantMask"];
        lock_wait_mask: "LOCK", ["waitMask"];
        lock_proc_locks: "LOCK", ["procLocks"];
        lock_wait_procs: "LOCK", ["waitProcs"];
        proclock_lock: "PROCLOCK", ["tag.myLock"];
        proclock_proc: "PROCLOCK", ["tag.myProc"];
        proclock_group_leader: "PROCLOCK", ["groupLeader"];
        proclock_hold_mask: "PROCLOCK", ["holdMask"];
        proclock_link: "PROCLOCK", ["lockLink"];
        /// Columns of a row of pg_class: what comes before the first that may be null has fixed places.
        class_name: "FormData_pg_class", ["relname"];
        class_namespace: "FormData_pg_class", ["relnamespace"];
        class_filenode: "FormData_pg_class", ["relfilenode"];
        class_tablespace: "FormData_pg_class", ["reltablespace"];
        class_persistence: "FormData_pg_class", ["relpersistence"];
        class_kind: "FormData_pg_class", ["relkind"];
        /// The relation that this one is made to replace.
        class_rewrite: "FormData_pg_class", ["relrewrite"];
        namespace_name: "FormData_pg_namespace", ["nspname"];
        database_name: "FormData_pg_database", ["datname"];
        buffer_tag: "BufferDesc", ["tag"];
        buffer_state: "BufferDesc", ["state"];
        /// Times in microseconds since 2000, 0 for what has not come yet (src/include/access/xlog.h).
        checkpoint_start: "CheckpointStatsData", ["ckpt_start_t"];
        checkpoint_write: "CheckpointStatsData", ["ckpt_write_t"];
        checkpoint_sync: "CheckpointStatsData", ["ckpt_sync_t"];
        checkpoint_sync_end: "CheckpointStatsData", ["ckpt_sync_end_t"];
        checkpoint_end: "CheckpointStatsData", ["ckpt_end_t"];
        checkpoint_buffers: "CheckpointStatsData", ["ckpt_bufs_written"];
        /// 18 and later: pages of SLRUs, which earlier versions do not count.
        checkpoint_slru_buffers: "CheckpointStatsData", ["ckpt_slru_written"];
        checkpoint_segments_added: "CheckpointStatsData", ["ckpt_segs_added"];
        checkpoint_segments_removed: "CheckpointStatsData", ["ckpt_segs_removed"];
        checkpoint_segments_recycled: "CheckpointStatsData", ["ckpt_segs_recycled"];
        checkpoint_files: "CheckpointStatsData", ["ckpt_sync_rels"];
        /// Microseconds, as the one below.
        checkpoint_longest_sync: "CheckpointStatsData", ["ckpt_longest_sync"];
        checkpoint_sync_time: "CheckpointStatsData", ["ckpt_agg_sync_time"];
        wal_records: "WalUsage", ["wal_records"];
        wal_fpi: "WalUsage", ["wal_fpi"];
        wal_bytes: "WalUsage", ["wal_bytes"];
        /// 18 and later.
        wal_buffers_full: "WalUsage", ["wal_buffers_full"];
        /// Transactions with a number of their own that ended; 14 to 16, and 17 and later.
        variable_cache_completed: "VariableCacheData", ["xactCompletionCount"];
        transam_completed: "TransamVariablesData", ["xactCompletionCount"];
        control_state: "ControlFileData", ["state"];
        control_redo: "ControlFileData", ["checkPointCopy.redo"];
        control_time: "ControlFileData", ["checkPointCopy.time"];
        control_crc: "ControlFileData", ["crc"];
        /// Asynchronous I/O, 18 and later (src/include/storage/aio_internal.h).
        aio_backends: "PgAioCtl", ["backend_state"];
        aio_handles: "PgAioCtl", ["io_handles"];
        aio_handle_count: "PgAioCtl", ["io_handle_count"];
        aio_first_handle: "PgAioBackend", ["io_handle_off"];
        aio_under_way: "PgAioBackend", ["in_flight_ios.count"];
        aio_state: "PgAioHandle", ["state"];
        aio_owner: "PgAioHandle", ["owner_procno"];
    }
}

macro_rules! symbols {
    ($($(#[$doc:meta])* $name:ident: $symbol:literal;)+) => {
        /// Addresses of Postgres variables in the running process, equal in every child of one postmaster. 0 is "unknown".
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct PgSymbols { $($(#[$doc])* pub $name: u64,)+ }

        /// Entry and symbol names, in the order of [`PgSymbols`].
        pub const PG_SYMBOLS: &[(&str, &str)] = &[$((stringify!($name), $symbol),)+];

        impl PgSymbols {
            pub const UNRESOLVED: Self = Self { $($name: 0,)+ };

            /// Asks `address_of` for each symbol in turn.
            pub fn resolve(mut address_of: impl FnMut(&str) -> Option<u64>) -> Self {
                Self { $($name: address_of($symbol).unwrap_or(0),)+ }
            }
        }
    };
}

symbols! {
    /// `char *`: the text of the statement in work, NULL between statements (src/backend/tcop/postgres.c).
    debug_query_string: "debug_query_string";
    /// `PgBackendStatus *` of this backend (src/backend/utils/activity/backend_status.c). Static in 13: see
    /// postgres/status_pointer.rs.
    my_be_entry: "MyBEEntry";
    /// `uint32 *` to the wait event in shared memory, 14 and later (src/backend/utils/activity/wait_event.c).
    my_wait_event_info: "my_wait_event_info";
    /// `PGPROC *` (src/backend/storage/lmgr/proc.c).
    my_proc: "MyProc";
    /// `BackendType` (src/backend/utils/init/miscinit.c).
    my_backend_type: "MyBackendType";
    /// `bool`: authentication is in progress (src/backend/postmaster/postmaster.c).
    client_auth_in_progress: "ClientAuthInProgress";
    /// `Port *` of the client connection (src/backend/utils/init/globals.c).
    my_proc_port: "MyProcPort";
    /// `bool`: the process is on its way out (src/backend/storage/ipc/ipc.c).
    proc_exit_inprogress: "proc_exit_inprogress";
    /// `int`: track_activity_query_size (src/backend/utils/activity/backend_status.c).
    activity_query_size: "pgstat_track_activity_query_size";
    /// `bool`: track_activities (same file).
    track_activities: "pgstat_track_activities";
    /// `WalUsage` of this process (src/backend/executor/instrument.c).
    wal_usage: "pgWalUsage";
    /// `CheckpointStatsData` of the checkpointer (src/backend/access/transam/xlog.c).
    checkpoint_stats: "CheckpointStats";
}
