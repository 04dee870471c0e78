//! Devices in a random world: accounts with passwords and an administrator at its start, and newcomers with codes later.

use vang_proto::Secret;
use vang_proto::vang::{Action, Role};

use super::World;
use crate::sign_in::{ADMIN, Device, NEWCOMERS_MAX, PEOPLE};

impl World {
    /// The operator adds the accounts, whose passwords all their devices know.
    pub(super) fn add_devices(&mut self) {
        let added = self.person_mut("operator").added.clone();
        for name in PEOPLE.into_iter().chain([ADMIN]) {
            let name = name.to_owned();
            let new = Secret::new(format!("first password of {name}"));
            self.operator_does(&Action::AddAccount { name: name.clone() });
            self.operator_does(&Action::SetPassword { new, old: None, name: Some(name) });
        }
        // They are no clients that `welcome` makes.
        let operator = self.person_mut("operator");
        operator.welcomed = added.len();
        operator.added = added;
        self.operator_does(&Action::SetRole { name: ADMIN.to_owned(), role: Role::Admin });
        self.operator_does(&Action::Join { room: "general".to_owned(), who: Some(ADMIN.to_owned()) });
        for name in PEOPLE {
            self.scene.invitable.push(name.to_owned());
            self.devices.push(Device::new(&format!("{name}_desk"), name, None));
            self.devices.push(Device::new(&format!("{name}_phone"), name, None));
        }
        self.devices.push(Device::new("chief_desk", ADMIN, None));
    }

    fn operator_does(&mut self, action: &Action) {
        self.ask("operator", action).expect("the operator may");
    }

    /// People who got a code come, and give themselves names.
    pub(super) fn welcome_newcomers(&mut self) {
        let shared = &mut self.scene.shared;
        if self.scene.newcomers.len() >= NEWCOMERS_MAX || !self.scene.env.weather.people_act {
            return;
        }
        if let Some((_, code)) = shared.codes.pop() {
            let name = format!("new{}", self.scene.mark());
            self.scene.newcomers.push(name.clone());
            self.devices.push(Device::new(&format!("{name}_desk"), &name, Some(code)));
        }
    }
}
