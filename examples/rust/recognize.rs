//! Recognizes the actions of people in a stream of poses, as ../c/recognize.c does, without checks of its input.
//!
//!   rustc --edition 2021 -O -L ~/motionrt/lib examples/rust/recognize.rs
//!   LD_LIBRARY_PATH=~/motionrt/lib ./recognize BUNDLE LAYOUT < frames
use std::ffi::{c_char, CStr, CString};
use std::io::{stdin, BufRead};
use std::ptr::null;

/// The part of motionrt.h that is used here.
mod ffi {
    use std::ffi::c_char;

    pub const FP32: i32 = 0;
    pub const ONSET: i32 = 1;
    pub const OFFSET: i32 = 2;

    #[repr(C)]
    pub struct Recognizer {
        _opaque: [u8; 0],
    }
    #[repr(C)]
    pub struct Pose {
        pub person: i64,
        pub joints: *const f32,
        pub confidence: *const f32,
        pub joint_count: i32,
    }
    #[repr(C)]
    #[derive(Default)]
    pub struct Decision {
        pub person: i64,
        pub tracking: i32,
        pub label: i32,
        pub score: f32,
        pub event: i32,
        pub event_label: i32,
        pub since: f64,
    }
    #[link(name = "motionrt")]
    extern "C" {
        pub fn motionrt_error() -> *const c_char;
        pub fn motionrt_load(folder: *const c_char, precision: i32, recognizer: *mut *mut Recognizer) -> i32;
        pub fn motionrt_free(recognizer: *mut Recognizer);
        pub fn motionrt_label(recognizer: *const Recognizer, index: i32) -> *const c_char;
        pub fn motionrt_layout(recognizer: *mut Recognizer, name: *const c_char, layout: *mut i32) -> i32;
        pub fn motionrt_step(
            recognizer: *mut Recognizer,
            t: f64,
            poses: *const Pose,
            count: i32,
            layout: i32,
            decisions: *mut Decision,
        ) -> i32;
    }
}

fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return "-".into();
    }
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into()
}

fn check(status: i32) -> Result<(), String> {
    if status == 0 {
        Ok(())
    } else {
        Err(text(unsafe { ffi::motionrt_error() }))
    }
}

/// A loaded model, freed with its owner. Its functions are thread-safe.
struct Recognizer(*mut ffi::Recognizer);
unsafe impl Send for Recognizer {}
unsafe impl Sync for Recognizer {}

impl Recognizer {
    fn load(folder: &str) -> Result<Self, String> {
        let folder = CString::new(folder).map_err(|error| error.to_string())?;
        let mut handle = std::ptr::null_mut();
        check(unsafe { ffi::motionrt_load(folder.as_ptr(), ffi::FP32, &mut handle) })?;
        Ok(Self(handle))
    }

    fn layout(&self, name: &str) -> Result<i32, String> {
        let name = CString::new(name).map_err(|error| error.to_string())?;
        let mut layout = -1;
        check(unsafe { ffi::motionrt_layout(self.0, name.as_ptr(), &mut layout) })?;
        Ok(layout)
    }

    /// Takes one person's joints, x y z each, at time t in seconds.
    fn step(&self, t: f64, person: i64, joints: &[f32], layout: i32) -> Result<ffi::Decision, String> {
        let joint_count = (joints.len() / 3) as i32;
        let pose = ffi::Pose {
            person,
            joints: joints.as_ptr(),
            confidence: null(),
            joint_count,
        };
        let mut decision = ffi::Decision::default();
        check(unsafe { ffi::motionrt_step(self.0, t, &pose, 1, layout, &mut decision) })?;
        Ok(decision)
    }

    fn label(&self, index: i32) -> String {
        text(unsafe { ffi::motionrt_label(self.0, index) })
    }
}

impl Drop for Recognizer {
    fn drop(&mut self) {
        unsafe { ffi::motionrt_free(self.0) }
    }
}

fn recognize(folder: &str, layout: &str) -> Result<(), String> {
    let recognizer = Recognizer::load(folder)?;
    let layout = recognizer.layout(layout)?;
    for line in stdin()
        .lock()
        .lines()
        .map_while(Result::ok)
        .filter(|line| !line.starts_with('#'))
    {
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [t, person, joints @ ..] = numbers.as_slice() else {
            return Err(format!("not a pose: {line}"));
        };
        let joints: Vec<f32> = joints.iter().map(|&number| number as f32).collect();
        let now = recognizer.step(*t, *person as i64, &joints, layout)?;
        let event = match now.event {
            ffi::ONSET => format!("\tonset\t{}\t{:.3}", recognizer.label(now.event_label), now.since),
            ffi::OFFSET => format!("\toffset\t{}", recognizer.label(now.event_label)),
            _ => String::new(),
        };
        println!(
            "{t:.3}\t{}\t{}\t{:.6}{event}",
            now.person,
            recognizer.label(now.label),
            now.score
        );
    }
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let result = match arguments.as_slice() {
        [_, folder, layout] => recognize(folder, layout),
        _ => Err("usage: recognize BUNDLE LAYOUT < frames".into()),
    };
    if let Err(error) = result {
        eprintln!("recognize: {error}");
        std::process::exit(2);
    }
}
